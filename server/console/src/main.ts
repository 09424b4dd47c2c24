// The shell: which view is shown, who is signed in, whether the server answers.
import './style.css'
import { onSignIn, signIn } from './api'
import { byId } from './dom'
import { clients } from './clients'
import { flow } from './flow'
import { topics } from './topics'
import { trace } from './trace'

export interface Shown {
  leave(): void
  // Somebody else looks at it now: what it shows is asked for anew. What was typed into its forms stays, and
  // they still stand in the page, for what is said of a request that was made again.
  signedIn(): void
}
// A view fills the element.
export type View = (main: HTMLElement, status: (text: string, ok: boolean) => void) => Shown
const views: Record<string, View> = { topics, clients, flow, trace }

let shown: Shown | undefined

function show(): void {
  const asked = location.hash.slice(1).split('=')[0]!   // what follows is the view's
  const name = Object.hasOwn(views, asked) ? asked : 'topics'
  shown?.leave()
  const main = byId('view')
  main.replaceChildren()
  main.className = name
  document.title = 'Millrace: ' + name
  for (const link of document.querySelectorAll('nav a')) {
    if (link.getAttribute('href') === '#' + name) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  const status = byId('status')
  shown = views[name]!(main, (text, ok) => {
    if (status.textContent !== text) status.textContent = text
    status.className = ok ? 'ok' : 'bad'
  })
}

byId('sign-in').addEventListener('click', () => void signIn())
onSignIn(() => shown?.signedIn())
addEventListener('hashchange', show)
show()
