// The view of the flow: the steps of a message's way through the server with their rates, from /metrics,
// and what is wrong there marked.
import { Refused, getJson, noAnswer, request } from './api'
import { timeChart } from './chart'
import { bytes, element, short, visible } from './dom'
import { Metrics } from './metrics'
import { charted, latency, steps, type Charted } from './steps'
import type { View } from './main'

const everyMs = 1000
const samplesMax = 300

interface Ring {
  filter: string
  policy: string
  readers: number
  messages: number
  lag_max_bytes: number
  lapped: number
}

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
  const series: Record<keyof Charted, (number | null)[]> = { depth: [], capacity: [], median: [], p99: [] }
  const lines = Object.keys(series) as (keyof Charted)[]
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
    const sample = charted(now, before)
    for (const line of lines) series[line].push(sample[line])
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
      queueChart.destroy()
      latencyChart.destroy()
    },
    signedIn() { void refresh() },
  }
}
