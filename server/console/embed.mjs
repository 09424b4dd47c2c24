// What `vite build` made, gzip-encoded, as a C++ file: node embed.mjs DIST OUTPUT
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { extname, join, posix, relative } from 'node:path'
import { gzipSync } from 'node:zlib'

const [dist, output] = process.argv.slice(2)
const bytesMax = 250_000
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml', '.txt': 'text/plain; charset=utf-8' }

const names = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter(entry => entry.isFile())
  .map(entry => relative(dist, join(entry.parentPath ?? entry.path, entry.name)))
  .sort()
let arrays = ''
let rows = ''
let total = 0
names.forEach((name, index) => {
  const type = types[extname(name)]
  if (!type) throw new Error(`what is ${name}?`)
  const packed = gzipSync(readFileSync(join(dist, name)), { level: 9 })
  total += packed.length
  const path = name === 'index.html' ? '/' : posix.join('/', name.replaceAll('\\', '/'))
  arrays += `const unsigned char file${index}[] = {${[...packed].join(',')}};\n`
  rows += `    {"${path}", "${type}", file${index}},\n`
})
if (total > bytesMax) throw new Error(`the page has ${total} bytes, more than ${bytesMax}`)
writeFileSync(output, `// Made by server/console/embed.mjs.
#include "server/console/console.hpp"

namespace millrace::server {

namespace {

// clang-format off
${arrays}
const ConsoleFile files[] = {
${rows}};
// clang-format on

}  // namespace

std::span<const ConsoleFile> console_files() {
  return files;
}

}  // namespace millrace::server
`)
console.log(`the page: ${names.length} files, ${total} bytes`)
