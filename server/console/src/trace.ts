// The view of traces: what happens to a client, a topic or an address for a while: packets each way and
// lines of the log.
import { Refused, change, getJson, noAnswer } from './api'
import { element, short, visible } from './dom'
import type { View } from './main'

interface Trace {
  id: number
  kind: string
  subject: string
  user: string | null
  running: boolean
  seconds_left: number
  recorded: number
  skipped: number
}
interface Entry {
  sequence: number
  time: string
  kind: string
  client: string | null
  user: string | null
  address: string | null
  topic: string | null
  text: string
}

const everyMs = 1000
const rowsMax = 500

// Of the page's address, which is #trace=CLIENT=USER where one comes from a client.
const askedFor = (part: number) => decodeURIComponent(location.hash.split('=')[part] ?? '')

export const trace: View = (main, status) => {
  const stop = new AbortController()
  let shown: Trace | undefined
  let next = 0       // behind the entry that came last
  let asking = false

  const kind = element('select', { 'aria-label': 'What to trace', change: () => { user.hidden = kind.value !== 'client' } },
    element('option', { value: 'client' }, 'Client'), element('option', { value: 'topic' }, 'Topic'), element('option', { value: 'address' }, 'Address'))
  const subject = element('input', { required: true, spellcheck: false, value: askedFor(1), 'aria-label': 'Its name' })
  const user = element('input', { spellcheck: false, value: askedFor(2), placeholder: 'of any user', 'aria-label': 'Of which user' })
  const minutes = element('select', { 'aria-label': 'For how long' },
    ...['1', '5', '15', '60'].map(one => element('option', one === '5' ? { value: one, selected: true } : { value: one }, one + ' min')))
  const said = element('p', { role: 'status' })
  const list = element('ul', { class: 'traces', 'aria-label': 'Traces' })
  const about = element('p', { class: 'hint' })
  const body = element('tbody')
  const head = ['Time', 'What', 'Client', 'Address', 'Topic', 'Text']

  const begin = async (event: Event): Promise<void> => {
    event.preventDefault()
    said.textContent = ''
    const query = new URLSearchParams({ [kind.value]: subject.value, minutes: minutes.value })
    if (!user.hidden && user.value) query.set('user', user.value)
    try {
      const answer = await change('/api/v1/trace?' + query, { method: 'POST' })
      show(await answer.json() as Trace)
      void refresh()
    } catch (error) {
      said.textContent = (error as Error).message
    }
  }
  const forget = async (one: Trace): Promise<void> => {
    said.textContent = ''
    try {
      await change('/api/v1/trace/' + one.id, { method: 'DELETE' })
      if (shown?.id === one.id) show(undefined)
    } catch (error) {
      said.textContent = (error as Error).message
    }
    void refresh()
  }
  const show = (one: Trace | undefined): void => {
    shown = one
    next = 0
    body.replaceChildren()
    about.textContent = ''
    void refresh()
  }

  main.append(
    element('form', { class: 'bar', submit: event => void begin(event) }, kind, subject, user, minutes,
      element('button', { class: 'primary' }, 'Trace')),
    said, list, about,
    element('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'What was traced, the newest first' },
      element('table', {}, element('thead', {}, element('tr', {}, ...head.map(one => element('th', { scope: 'col' }, one)))), body)))

  const nameOf = (one: Trace) => `${one.kind} ${visible(one.subject)}${one.user ? ' of ' + visible(one.user) : ''}`
  const paintList = (traces: Trace[]): void => {
    const focused = [...list.querySelectorAll('button')].findIndex(button => button === document.activeElement)
    list.replaceChildren(...traces.map(one => element('li', {},
      element('button', { type: 'button', 'aria-pressed': String(one.id === shown?.id), click: () => show(one) }, nameOf(one)),
      ` ${one.running ? one.seconds_left + ' s left' : 'ended'}, ${short(one.recorded)} recorded${one.skipped > 0 ? `, ${short(one.skipped)} left out` : ''} `,
      element('button', { type: 'button', 'aria-label': `Remove the trace of ${nameOf(one)}`, click: () => void forget(one) }, 'Remove'))))
    list.querySelectorAll('button')[focused]?.focus()
  }

  const row = (entry: Entry): HTMLElement => {
    const cells = [entry.time.slice(11, 23), entry.kind, (entry.client ?? '') + (entry.user ? ` (${entry.user})` : ''), entry.address ?? '', entry.topic ?? '', entry.text]
    return element('tr', { class: entry.kind }, ...cells.map(cell => element('td', {}, visible(cell))))
  }

  const readOn = async (): Promise<void> => {
    for (let one = shown; one && one.id === shown?.id;) {
      const answer = await getJson<{ entries: Entry[]; next: number }>(`/api/v1/trace/${one.id}?after=${next}`, stop.signal)
      if (one.id !== shown?.id || answer.entries.length === 0) return
      const lost = answer.entries[0]!.sequence - 1 - next
      if (lost > 0) about.textContent = `${short(lost)} entries had to give way to newer ones.`
      next = answer.next
      body.prepend(...answer.entries.slice(-rowsMax).reverse().map(row))
      while (body.rows.length > rowsMax) body.deleteRow(-1)
    }
  }

  const refresh = async (): Promise<void> => {
    if (asking) return
    asking = true
    try {
      const { traces } = await getJson<{ traces: Trace[] }>('/api/v1/trace', stop.signal)
      paintList(traces)
      if (shown && !traces.some(one => one.id === shown!.id)) show(undefined)
      shown ??= traces.at(-1)
      await readOn()
      status('Live', true)
    } catch (error) {
      if (stop.signal.aborted) return
      if (error instanceof Refused && error.status === 401) status('Only administrators trace: sign in.', false)
      else status(error instanceof Refused ? error.message : noAnswer, false)
    } finally {
      asking = false
    }
  }

  void refresh()
  const timer = setInterval(() => void refresh(), everyMs)
  return {
    leave() {
      clearInterval(timer)
      stop.abort()
    },
    signedIn() {
      list.replaceChildren()
      show(undefined)
    },
  }
}
