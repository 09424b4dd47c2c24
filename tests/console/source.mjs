// The page's sources as modules that Node imports, made by what the page itself is built with: CONSOLE_BUILD,
// the folder of that build.
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const { build } = await import(pathToFileURL(join(process.env.CONSOLE_BUILD, 'node_modules/vite/dist/node/index.js')))

export async function load(name) {
  const root = fileURLToPath(new URL('../../server/console/src', process.env.TESTS_URL))
  const [{ output }] = await build({ root, configFile: false, logLevel: 'warn',
    build: { write: false, minify: false, target: 'node20', lib: { entry: join(root, name), formats: ['es'], fileName: 'module' } } })
  return import('data:text/javascript;base64,' + Buffer.from(output[0].code).toString('base64'))
}
