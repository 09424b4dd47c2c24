// The Chromium that is installed; tests that need it are skipped where there is none.
import { execFileSync } from 'node:child_process'
import { chromium } from 'playwright-core'

const executable = ['chromium', 'chromium-browser', 'google-chrome'].map(name => {
  try {
    return execFileSync('which', [name], { stdio: ['ignore', 'pipe', 'ignore'] }).toString().trim()
  } catch {
    return ''
  }
}).find(path => path)
export const skip = executable ? false : 'chromium is not installed'

export function launch() {
  return chromium.launch({ executablePath: executable, args: ['--no-sandbox', '--disable-gpu'] })
}
