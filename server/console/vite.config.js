import { readFileSync, writeFileSync } from 'node:fs'

// Writes which packages of npm have code in the page, with their versions, to bundled.txt: for the bill of
// materials, and for the test that asks for a notice of each.
const bundled = {
  name: 'bundled',
  generateBundle() {
    const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'))
    const names = new Set()
    for (const id of this.getModuleIds()) {
      // Vite's own helpers, where it needs some, are not files.
      const name = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1] ?? /^\0(vite)\//.exec(id)?.[1]
      if (name) names.add(name)
    }
    const lines = [...names].sort().map(name => `${name} ${packages[`node_modules/${name}`].version}\n`)
    writeFileSync('bundled.txt', lines.join(''))
  },
}

// Everything in files of hashed names, nothing inline: the page's Content-Security-Policy allows no other.
export default {
  base: './',
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: false, reportCompressedSize: false },
  plugins: [bundled],
}
