// The view of the flow: the steps of a message's way through the server with their rates, from /metrics,
// and what is wrong there marked.
import { Refused, getJson, request } from './api'
import { timeChart } from './chart'
import { bytes, duration, element, short, visible } from './dom'
import { Metrics } from './metrics'
import type { View } from './main'

const everyMs = 1000
const samplesMax = 300

interface Step {
  name: string
  says: string
  // What is measured, its value, and whether that is wrong.
  read(now: Metrics, before: Metrics, seconds: number): [string, string, boolean?][]
}

const steps: Step[] = [
  { name: '1 frame', says: 'bytes to packets', read: (now, before, s) => [
    ['received', bytes(now.rate(before, 'millrace_socket_received_bytes_total', s)) + '/s'],
    ['connections', short(now.sum('millrace_connections_open'))]] },
  { name: '2 decode', says: 'packets, rights', read: (now, before, s) => [
    ['packets', short(now.rate(before, 'millrace_packets_received_total', s)) + '/s'],
    ['protocol faults', short(now.rate(before, 'millrace_protocol_faults_total', s)) + '/s', now.rate(before, 'millrace_protocol_faults_total', s) > 0]] },
  { name: '3 message', says: 'what was published', read: (now, before, s) => [
    ['messages', short(now.rate(before, 'millrace_messages_received_total', s)) + '/s']] },
  { name: '4 submit', says: 'into the queue', read: now => [
    ['waiting', short(now.sum('millrace_queue_depth')), now.sum('millrace_queue_depth') > now.sum('millrace_queue_capacity') / 2],
    ['capacity', short(now.sum('millrace_queue_capacity'))],
    ['memory', bytes(now.sum('millrace_queue_memory_bytes'))]] },
  { name: '5 apply', says: 'batches', read: (now, before, s) => {
    const batches = now.rate(before, 'millrace_batches_total', s)
    const time = now.rate(before, 'millrace_batch_seconds_sum', s)
    return [['batches', short(batches) + '/s'],
      ['commands per batch', batches > 0 ? (now.rate(before, 'millrace_batch_commands_sum', s) / batches).toFixed(1) : '0'],
      ['busy', Math.round(time * 100) + ' %', time > 0.8]]
  } },
  { name: '6 route', says: 'topic to subscribers', read: (now, before, s) => [
    ['routes computed', short(now.rate(before, 'millrace_routes_computed_total', s)) + '/s'],
    ['without a subscriber', short(now.rate(before, 'millrace_messages_unmatched_total', s)) + '/s']] },
  { name: '7 fan out', says: 'newest values, rings', read: now => [
    ['topics', short(now.sum('millrace_slots'))],
    ['rings', short(now.count('millrace_ring_readers'))],
    ['ring readers', short(now.sum('millrace_ring_readers'))],
    ['ring lag', bytes(now.max('millrace_ring_lag_bytes'))]] },
  { name: '8 deliver', says: 'under credit', read: (now, before, s) => {
    const dropped = now.rate(before, 'millrace_messages_dropped_total', s)
    const slow = now.sum('millrace_slow_sessions')
    return [['delivered', short(now.rate(before, 'millrace_messages_delivered_total', s)) + '/s'],
      ['conflated', short(now.rate(before, 'millrace_messages_conflated_total', s)) + '/s'],
      ['slow clients', short(slow), slow > 0],
      ['dropped', short(dropped) + '/s', dropped > 0]]
  } },
  { name: '9 write', says: 'to subscribers', read: (now, before, s) => {
    const p99 = now.quantile(before, 'millrace_publish_to_write_seconds', 0.99)
    return [['sent', bytes(now.rate(before, 'millrace_socket_sent_bytes_total', s)) + '/s'],
      ['latency, median', latency(now.quantile(before, 'millrace_publish_to_write_seconds', 0.5))],
      ['latency, 99 %', latency(p99), p99 > 0.1]]
  } },
  // Beside the nine steps.
  { name: 'links', says: 'to other brokers', read: (now, before, s) => {
    const links = now.count('millrace_upstream_up')
    const down = links - now.sum('millrace_upstream_up')
    return [['up', `${links - down} of ${links}`, down > 0],
      ['messages', short(now.rate(before, 'millrace_upstream_messages_total', s)) + '/s'],
      ['round trip', links > 0 ? latency(now.max('millrace_upstream_round_trip_seconds')) : '–']]
  } },
]

interface Ring {
  filter: string
  policy: string
  readers: number
  messages: number
  lag_max_bytes: number
  lapped: number
}

const latency = (seconds: number) => Number.isNaN(seconds) ? '–' : seconds < 0.001 ? Math.round(seconds * 1e6) + ' µs' : duration(seconds * 1000)

export const flow: View = (main, status) => {
  const stop = new AbortController()
  const list = element('ol', { class: 'steps' })
  const cards = steps.map(step => {
    const facts = element('dl')
    list.append(element('li', {}, element('h2', {}, step.name), element('p', {}, step.says), facts))
    return facts
  })
  const queueBox = element('div', { class: 'chart' })
  const latencyBox = element('div', { class: 'chart' })
  const key = (first: string, second: string) =>
    element('p', { class: 'key' }, element('span', {}, first), element('span', { class: 'second' }, second))
  const bars = element('div', { class: 'bars', role: 'img' })
  const rings = element('tbody')
  const ringHead = ['Ring', 'When full', 'Readers', 'Greatest lag', 'Messages', 'Overtaken readers']
  const ringBox = element('section', { class: 'scroll', hidden: true, tabindex: 0, 'aria-label': 'Rings' },
    element('h2', {}, 'Rings in shared memory'),
    element('table', {}, element('thead', {}, element('tr', {}, ...ringHead.map(one => element('th', { scope: 'col' }, one)))), rings))
  main.append(list,
    element('div', { class: 'charts' },
      element('section', {}, element('h2', {}, 'Queue to the processor'), key('waiting', 'capacity'), queueBox),
      element('section', {}, element('h2', {}, 'Latency from read to write, ms'), key('median', '99 %'), latencyBox),
      element('section', {}, element('h2', {}, 'Messages by latency, since this page was opened'), bars)),
    ringBox)

  const times: number[] = []
  const series = { depth: [] as number[], capacity: [] as number[], median: [] as (number | null)[], p99: [] as (number | null)[] }
  const queueChart = timeChart(queueBox, 180, ['--accent', '--second'], true)
  const latencyChart = timeChart(latencyBox, 180, ['--accent', '--second'], true)

  const paint = (now: Metrics, before: Metrics): void => {
    const seconds = (now.at - before.at) / 1000
    steps.forEach((step, index) => {
      const facts = step.read(now, before, seconds)
      const card = cards[index]!
      card.parentElement!.classList.toggle('alert', facts.some(([, , alert]) => alert))
      facts.forEach(([name, text, alert], at) => {
        if (card.children.length <= at * 2) card.append(element('dt', {}, name), element('dd'))
        const shown = card.children[at * 2 + 1]!
        shown.textContent = text
        shown.className = alert ? 'alert' : ''
      })
    })
    times.push(Date.now() / 1000)
    series.depth.push(now.sum('millrace_queue_depth'))
    series.capacity.push(now.sum('millrace_queue_capacity'))
    const ms = (share: number) => {
      const value = now.quantile(before, 'millrace_publish_to_write_seconds', share)
      return Number.isNaN(value) ? null : value * 1000
    }
    series.median.push(ms(0.5))
    series.p99.push(ms(0.99))
    for (const one of [times, ...Object.values(series)]) if (one.length > samplesMax) one.shift()
    queueChart.setData([times, series.depth, series.capacity])
    latencyChart.setData([times, series.median, series.p99])
  }

  const paintBars = (now: Metrics, since: Metrics): void => {
    const counts = now.histogram(since, 'millrace_publish_to_write_seconds')
    const most = Math.max(1, ...counts.map(([, count]) => count))
    const name = (bound: number) => bound === Infinity ? 'more' : latency(bound)
    counts.forEach(([bound, count], index) => {
      if (bars.children.length <= index) bars.append(element('div', {}, element('i'), element('span', {}, name(bound))))
      const bar = bars.children[index]!.firstElementChild as HTMLElement
      bar.style.height = Math.round(count / most * 100) + '%'
      bar.title = short(count)
    })
    bars.setAttribute('aria-label', counts.filter(([, count]) => count > 0)
      .map(([bound, count]) => `up to ${name(bound)}: ${short(count)}`).join(', ') || 'no message')
  }

  const paintRings = (all: Ring[]): void => {
    ringBox.hidden = all.length === 0
    rings.replaceChildren(...all.map(ring => element('tr', {}, ...[visible(ring.filter), ring.policy, short(ring.readers),
      bytes(ring.lag_max_bytes), short(ring.messages), short(ring.lapped)].map(cell => element('td', {}, cell)))))
  }

  let first: Metrics | undefined
  let before: Metrics | undefined
  let asking = false   // one question at a time, however slow the link is
  const refresh = async (): Promise<void> => {
    if (asking) return
    asking = true
    try {
      const text = await (await request('/metrics', { signal: stop.signal })).text()
      const now = new Metrics(text, performance.now())
      first ??= now
      if (before) paint(now, before)
      paintBars(now, first)
      before = now
      status('Live', true)
      // Who may see the figures may not always see this.
      paintRings((await getJson<{ rings: Ring[] }>('/api/v1/rings', stop.signal).catch(() => ({ rings: [] }))).rings)
    } catch (error) {
      if (stop.signal.aborted) return
      if (error instanceof Refused && error.status === 404) status('/metrics is not served at this address.', false)
      else status(error instanceof Refused ? error.message : 'The server does not answer.', false)
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
      queueChart.destroy()
      latencyChart.destroy()
    },
    signedIn() { void refresh() },
  }
}
