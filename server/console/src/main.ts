// The shell: which view is shown, who is signed in, whether the server answers.
import './style.css'
import { onSignIn, signIn } from './api'
import { byId } from './dom'
import { clients } from './clients'
import { flow } from './flow'
import { topics } from './topics'

// A view fills the element, and returns how to leave it.
export type View = (main: HTMLElement, status: (text: string, ok: boolean) => void) => () => void
const views: Record<string, View> = { topics, clients, flow }

let leave = () => {}

function show(): void {
  const wanted = location.hash.slice(1)
  const name = Object.hasOwn(views, wanted) ? wanted : 'topics'
  leave()
  const main = byId('view')
  main.replaceChildren()
  main.className = name
  document.title = 'Millrace: ' + name
  for (const link of document.querySelectorAll('nav a')) {
    if (link.getAttribute('href') === '#' + name) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  const status = byId('status')
  leave = views[name]!(main, (text, ok) => {
    if (status.textContent !== text) status.textContent = text
    status.className = ok ? 'ok' : 'bad'
  })
}

byId('sign-in').addEventListener('click', () => void signIn())
onSignIn(show)
addEventListener('hashchange', show)
show()
