// The view of clients: who is connected, who is slow, and what one of them reads.
import { Refused, change, clientPath, getJson, noAnswer } from './api'
import { ask, byId, bytes, duration, element, short, visible } from './dom'
import type { View } from './main'

interface Connection {
  address: string
  port: number
  listener: string
  transport: string
  keep_alive_seconds: number
  connected_seconds: number
  silent_seconds: number
  bytes_received: number
  bytes_sent: number
  last_sent_seconds: number
  messages_received: number
  messages_sent: number
}
interface Client {
  id: string
  user: string | null
  link: boolean
  state: string
  slow: boolean
  protocol: string
  subscriptions: number
  inflight: number
  waiting: number
  waiting_bytes: number
  unwritten_bytes: number
  credit_bytes: number
  conflated: number
  oldest_waiting_ms: number | null
  connection: Connection | null
}
interface Detail extends Client {
  subscribed: { filter: string; qos: number; mode: string; interval_ms: number }[]
  more_subscriptions: boolean
}

const refreshMs = 2000

const nameOf = (client: Client) => visible(client.id) + (client.user === null ? '' : ' of ' + visible(client.user))

export const clients: View = (main, status) => {
  const stop = new AbortController()
  let after = ''
  let next: string | null = null
  let asked = 0        // the number of the newest question; answers to older ones are not shown
  let asking = false

  const option = (value: string, text: string) => element('option', { value }, text)
  const again = () => { after = ''; void refresh() }
  const prefix = element('input', { type: 'search', placeholder: 'Client begins with', 'aria-label': 'Client begins with', input: again })
  const state = element('select', { 'aria-label': 'State', change: again },
    option('', 'All'), option('connected', 'Connected'), option('away', 'Away'), option('slow', 'Slow'))
  const address = element('input', { type: 'search', placeholder: 'Address or range', 'aria-label': 'Address or range', change: again })
  const sort = element('select', { 'aria-label': 'Order', change: again },
    option('age', 'Slowest first'), option('waiting', 'Most waiting'), option('waiting_bytes', 'Most bytes waiting'),
    option('sent', 'Most sent'), option('received', 'Most received'), option('connected', 'Connected for longest'), option('id', 'By name'))
  const more = element('button', { type: 'button', click: () => { after = next ?? ''; void refresh() } }, 'Next page')
  const head = ['Client', 'User', 'Address', 'State', 'Lag', 'Conflated', 'Waiting', 'Subscriptions', 'Received', 'Sent', 'Connected', 'Action']
  const body = element('tbody')
  const none = element('p', { class: 'hint', hidden: true }, 'No client.')
  const said = element('p', { role: 'status' })
  const detail = element('section', { class: 'detail', 'aria-label': 'Client', hidden: true })
  main.append(
    element('div', { class: 'bar' }, prefix, address, state, sort, more),
    said, none,
    element('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Clients' },
      element('table', {}, element('thead', {}, element('tr', {}, ...head.map(one => element('th', { scope: 'col' }, one)))), body)),
    detail)

  const row = (client: Client): HTMLElement => {
    const connection = client.connection
    const open = element('button', { type: 'button', class: 'link', click: () => void show(client) }, visible(client.id))
    const kick = element('button', { type: 'button', click: () => void disconnect(client) }, 'Disconnect')
    const cells: (Node | string)[] = [
      open, visible(client.user ?? ''), connection ? connection.address : '', client.slow ? 'slow' : client.state,
      client.oldest_waiting_ms === null ? '' : duration(client.oldest_waiting_ms),
      client.conflated === 0 ? '' : short(client.conflated),
      client.waiting === 0 ? '' : `${short(client.waiting)} (${bytes(client.waiting_bytes)})`,
      short(client.subscriptions), connection ? bytes(connection.bytes_received) : '', connection ? bytes(connection.bytes_sent) : '',
      connection ? duration(connection.connected_seconds * 1000) : '', client.state === 'connected' ? kick : '']
    return element('tr', { class: client.slow ? 'alert' : '' }, ...cells.map(cell => element('td', {}, cell)))
  }

  const refresh = async (): Promise<void> => {
    const query = new URLSearchParams({ sort: sort.value, prefix: prefix.value })
    if (address.value) query.set('address', address.value)
    if (state.value) query.set('state', state.value)
    if (after) query.set('after', after)
    const number = ++asked
    asking = true
    try {
      const page = await getJson<{ clients: Client[]; next: string | null }>('/api/v1/clients?' + query, stop.signal)
      if (number !== asked) return
      next = page.next
      more.disabled = next === null && after === ''
      more.textContent = next === null && after !== '' ? 'First page' : 'Next page'
      const focused = document.activeElement?.closest('tr')?.rowIndex
      const column = document.activeElement?.closest('td')?.cellIndex
      body.replaceChildren(...page.clients.map(row))
      if (focused && column !== undefined) body.rows[focused - 1]?.cells[column]?.querySelector('button')?.focus()
      none.hidden = page.clients.length > 0
      status('Live', true)
    } catch (error) {
      if (stop.signal.aborted || number !== asked) return
      status(error instanceof Refused ? error.message : noAnswer, false)
    } finally {
      if (number === asked) asking = false
    }
  }

  const show = async (chosen: Client): Promise<void> => {
    said.textContent = ''
    try {
      const client = await getJson<Detail>(clientPath(chosen), stop.signal)
      const connection = client.connection
      const facts: [string, string][] = [
        ['Protocol', 'MQTT ' + client.protocol], ['Inflight', short(client.inflight)],
        ['Handed over', `${bytes(client.unwritten_bytes)} of ${bytes(client.credit_bytes)}`],
        ['Listener', connection ? `${connection.listener} (${connection.transport})` : ''],
        ['Keep alive', connection ? connection.keep_alive_seconds + ' s' : ''],
        ['Last received', connection ? duration(connection.silent_seconds * 1000) + ' ago' : ''],
        ['Last sent', connection ? duration(connection.last_sent_seconds * 1000) + ' ago' : ''],
        ['Received', connection ? `${short(connection.messages_received)} messages, ${bytes(connection.bytes_received)} in all` : ''],
        ['Sent', connection ? `${short(connection.messages_sent)} messages, ${bytes(connection.bytes_sent)} in all` : '']]
      detail.hidden = false
      detail.replaceChildren(
        element('h2', {}, nameOf(client)),
        element('dl', { class: 'facts' }, ...facts.flatMap(([name, text]) => [element('dt', {}, name), element('dd', {}, text)])),
        element('table', {},
          element('thead', {}, element('tr', {}, ...['Filter', 'QoS', 'Mode', 'Interval'].map(one => element('th', { scope: 'col' }, one)))),
          element('tbody', {}, ...client.subscribed.map(one => element('tr', {},
            element('td', {}, visible(one.filter)), element('td', {}, String(one.qos)), element('td', {}, one.mode),
            element('td', {}, one.interval_ms ? one.interval_ms + ' ms' : ''))))),
        client.more_subscriptions ? 'And more.' : '',
        // What a link brings and takes is in no trace.
        client.link ? '' : element('p', {}, element('a', { href: '#' + ['trace', client.id, client.user ?? ''].map(encodeURIComponent).join('=') }, 'Trace this client')))
      detail.scrollIntoView({ block: 'nearest' })
    } catch (error) {
      if (!stop.signal.aborted) said.textContent = (error as Error).message
    }
  }

  const disconnect = async (client: Client): Promise<void> => {
    byId('confirm-title').textContent = 'Disconnect ' + nameOf(client) + '?'
    byId('confirm-text').textContent = client.link
      ? 'What waits for the other broker is kept. The link is made again at once.'
      : 'Its session is kept. Most clients connect again at once.'
    if (!await ask(byId<HTMLDialogElement>('confirm-dialog'))) return
    said.textContent = ''
    try {
      await change(clientPath(client), { method: 'DELETE' })
      said.textContent = 'Disconnected.'
    } catch (error) {
      said.textContent = (error as Error).message
    }
    void refresh()
  }

  void refresh()
  const timer = setInterval(() => { if (after === '' && !asking && !document.querySelector('dialog[open]')) void refresh() }, refreshMs)
  return {
    leave() {
      clearInterval(timer)
      stop.abort()
    },
    signedIn() {
      body.replaceChildren()
      detail.hidden = true
      again()
    },
  }
}
