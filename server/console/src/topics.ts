// The view of topics: a tree of those that match a filter, live, and one of them in full.
import type uPlot from 'uplot'
import { change, getJson, pathPart } from './api'
import { timeChart } from './chart'
import { bytes, duration, element, short, shellWord, visible } from './dom'
import { Events, type Value } from './events'
import { bytesOf, parsedJson, render, type Form } from './payload'
import { Topic, Tree } from './tree'
import type { View } from './main'

const rowHeight = 28   // as in style.css
const previewBytes = 2048

export const topics: View = (main, status) => {
  const tree = new Tree()
  let selected: Topic | undefined
  let cursor = 0
  let first = true
  let whole: Uint8Array | undefined   // of the selected topic, where the stream cuts it
  let asking = false
  let form: Form | undefined          // that the user chose
  let shownValue: Value | undefined
  let stream: Events | undefined

  // ---- elements
  // A form of two fields and no button is not submitted by Enter; a changed field says so itself.
  const filter = element('input', { value: '#', spellcheck: false, 'aria-label': 'Topic filter', size: 14, change: () => follow() })
  const search = element('input', { type: 'search', placeholder: 'Search', 'aria-label': 'Search topics' })
  const count = element('span', { class: 'count' })
  const spacer = element('div', { class: 'spacer' })
  const box = element('div', { class: 'tree', role: 'tree', tabindex: 0, 'aria-label': 'Topics' }, spacer)
  const detail = element('section', { class: 'detail', 'aria-label': 'Topic' })
  main.append(
    element('section', { class: 'list' },
      element('form', { class: 'bar', submit: event => event.preventDefault() },
        element('label', {}, 'Filter ', filter), search, count),
      box),
    detail)

  // ---- the stream
  // What was known of topics holds no more; the selected one is shown again as soon as it comes.
  const clear = (): void => {
    tree.clear()
    if (selected) selected.value = undefined
    first = true
    changed()
  }

  const follow = (): void => {
    stream?.stop()
    clear()
    status('Connecting', true)
    const query = new URLSearchParams({ filter: filter.value, max_rate_hz: '10', payload_bytes_max: String(previewBytes) })
    stream = new Events(query.toString(), {
      begin: clear,
      value: value => {
        if (value.cleared) tree.remove(value.topic)
        else {
          const topic = tree.set(value, performance.now())
          if (selected && !selected.value && selected.path === value.topic) selected = topic
        }
        changed()
      },
      state: status,
    })
  }

  // ---- the tree: as many rows as fit, each made once
  const pool: HTMLElement[] = []
  const rowAt = (index: number): HTMLElement => {
    while (pool.length <= index) {
      const row = element('div', { class: 'row', role: 'treeitem', id: 'row' + pool.length },
        element('span', { class: 'name' }), element('span', { class: 'value' }), element('span', { class: 'age' }),
        element('span', { class: 'rate' }))
      row.addEventListener('click', () => choose(Number(row.dataset.at), true))
      pool.push(row)
      spacer.append(row)
    }
    return pool[index]!
  }

  const setText = (node: Element, text: string): void => {
    if (node.textContent !== text) node.textContent = text
  }

  const paint = (): void => {
    const now = performance.now()
    let rows = tree.visible()
    if (first && rows.length > 0) {
      first = false
      if (rows.length === 1) tree.toggle(rows[0]!, true)
      rows = tree.visible()
    }
    cursor = Math.min(cursor, Math.max(0, rows.length - 1))
    spacer.style.height = rows.length * rowHeight + 'px'
    setText(count, `${short(tree.size)} topics`)
    // Rows that stand far below what is left of the tree would keep the place to which it is scrolled.
    const top = Math.min(box.scrollTop, Math.max(0, rows.length * rowHeight - box.clientHeight))
    const start = Math.floor(top / rowHeight)
    const end = Math.min(rows.length, start + Math.ceil(box.clientHeight / rowHeight) + 1)
    for (let at = start; at < end; ++at) paintRow(rowAt(at - start), rows[at]!, at, rows.length, now)
    for (let index = Math.max(0, end - start); index < pool.length; ++index) pool[index]!.hidden = true
    const active = cursor >= start && cursor < end ? 'row' + (cursor - start) : ''
    if (active) box.setAttribute('aria-activedescendant', active)
    else box.removeAttribute('aria-activedescendant')
    if (selected) paintDetail(selected, now)
    else if (detail.childElementCount === 0) paintEmpty()
  }

  const paintRow = (row: HTMLElement, topic: Topic, at: number, size: number, now: number): void => {
    const [name, value, age, rate] = row.children as unknown as HTMLElement[]
    const folder = topic.children.size > 0 && !tree.searching
    row.hidden = false
    row.dataset.at = String(at)
    row.style.transform = `translateY(${at * rowHeight}px)`
    row.style.setProperty('--level', String(tree.searching ? 0 : topic.level))
    row.classList.toggle('cursor', at === cursor)
    row.classList.toggle('selected', topic === selected)
    row.setAttribute('aria-level', String(tree.searching ? 1 : topic.level + 1))
    row.setAttribute('aria-setsize', String(size))
    row.setAttribute('aria-posinset', String(at + 1))
    row.setAttribute('aria-selected', String(topic === selected))
    if (folder) row.setAttribute('aria-expanded', String(topic.open))
    else row.removeAttribute('aria-expanded')
    const mark = folder ? (topic.open ? '▾ ' : '▸ ') : '  '
    const shown = tree.searching ? topic.path : topic.name === '' ? '(empty)' : topic.name
    setText(name!, mark + visible(shown) + (folder ? ` (${short(topic.count)})` : ''))
    setText(value!, topic.value ? preview(topic.value) : '')
    setText(age!, topic.value ? duration(now - topic.receivedAt) : '')
    setText(rate!, topic.value ? rateText(topic, now) : '')
  }

  const preview = (value: Value): string =>
    value.payload === undefined ? `binary, ${bytes(value.size)}` : visible(value.payload.slice(0, 200))

  const rateNow = (topic: Topic, now: number) => topic.rate * Math.exp(-(now - topic.rateAt) / 5000)
  const rateText = (topic: Topic, now: number): string => {
    const rate = rateNow(topic, now)
    return rate < 0.05 ? '' : rate.toFixed(1) + '/s'
  }

  const choose = (at: number, toggle: boolean): void => {
    const topic = tree.visible()[at]
    if (!topic) return
    cursor = at
    if (toggle && topic.children.size > 0 && !tree.searching) tree.toggle(topic, !topic.open)
    if (topic.value && topic !== selected) {
      selected = topic
      whole = shownValue = form = undefined
      buildDetail(topic)
    }
    changed()
  }

  const scrollToCursor = (): void => {
    const top = cursor * rowHeight
    spacer.style.height = tree.visible().length * rowHeight + 'px'   // there is room to scroll to it
    if (top < box.scrollTop) box.scrollTop = top
    if (top + rowHeight > box.scrollTop + box.clientHeight) box.scrollTop = top + rowHeight - box.clientHeight
  }

  box.addEventListener('scroll', () => changed(), { passive: true })
  box.addEventListener('keydown', event => {
    const rows = tree.visible()
    const topic = rows[cursor]
    if (!topic) return
    const page = Math.max(1, Math.floor(box.clientHeight / rowHeight) - 1)
    const steps: Record<string, () => void> = {
      ArrowDown: () => { cursor++ },
      ArrowUp: () => { cursor-- },
      PageDown: () => { cursor += page },
      PageUp: () => { cursor -= page },
      Home: () => { cursor = 0 },
      End: () => { cursor = rows.length - 1 },
      ArrowRight: () => { if (topic.open) cursor++; else if (topic.children.size > 0) tree.toggle(topic, true) },
      ArrowLeft: () => {
        if (topic.open) tree.toggle(topic, false)
        else if (topic.level > 0) cursor = Math.max(0, rows.indexOf(topic.parent!))
      },
      Enter: () => choose(cursor, true),
      ' ': () => choose(cursor, true),
    }
    const step = steps[event.key]
    if (!step) return
    event.preventDefault()
    step()
    cursor = Math.max(0, Math.min(cursor, rows.length - 1))
    scrollToCursor()
    changed()
  })

  // ---- one topic
  let facts: HTMLElement, content: HTMLElement, forms: HTMLElement, chart: HTMLElement
  let plot: uPlot | undefined

  const buildDetail = (topic: Topic): void => {
    plot?.destroy()
    plot = undefined
    const path = topic.path
    facts = element('dl', { class: 'facts' })
    content = element('div')
    chart = element('div', { class: 'chart' })
    forms = element('div', { class: 'forms', role: 'group', 'aria-label': 'Show as' })
    for (const one of ['text', 'json', 'hex'] as Form[]) {
      forms.append(element('button', { type: 'button', click: () => { form = one; shownValue = undefined; changed() } }, one))
    }
    const copied = element('p', { class: 'hint', role: 'status' })
    const copy = element('button', { type: 'button', click: () => void copyLine(path, copy, copied) }, 'Copy as mosquitto_sub')
    detail.replaceChildren(
      element('h2', {}, visible(path)), facts, chart, element('div', { class: 'bar' }, forms, copy), copied, content, publishForm(path))
  }

  const copyLine = async (path: string, button: HTMLButtonElement, said: HTMLElement): Promise<void> => {
    let port: number | undefined
    try {
      port = await mqttPort()
    } catch (error) {
      said.textContent = (error as Error).message
      return
    }
    if (port === undefined) {
      button.disabled = true
      said.textContent = 'The server has no listener for plain TCP, so there is no such line.'
      return
    }
    said.textContent = ''
    const host = location.hostname.replace(/^\[(.*)\]$/, '$1')
    const line = `mosquitto_sub -h ${host} -p ${port} -t ${shellWord(path)} -v`
    try {
      await navigator.clipboard.writeText(line)
      button.textContent = 'Copied'
    } catch {
      prompt('The command', line)   // not a secure context: there is no clipboard
    }
  }

  // Where plain MQTT is listened for; undefined: nowhere.
  const mqttPort = async (): Promise<number | undefined> => {
    const { listeners } = await (await change('/api/v1/server')).json() as { listeners: { transport: string; port: number }[] }
    return listeners.find(one => one.transport === 'tcp')?.port
  }

  const paintEmpty = (): void => {
    detail.replaceChildren(element('p', { class: 'hint' }, 'Choose a topic, or publish to one.'), publishForm(''))
  }

  const paintDetail = (topic: Topic, now: number): void => {
    const value = topic.value
    if (!value) {
      if (shownValue || facts.childElementCount === 0) facts.replaceChildren(element('dt', {}, 'Value'), element('dd', {}, 'none now'))
      if (shownValue) content.replaceChildren()
      shownValue = undefined
      return
    }
    if (facts.childElementCount === 2) facts.replaceChildren()   // it has one again
    const rows: [string, string][] = [
      ['Age', duration(now - topic.receivedAt)], ['Rate', rateText(topic, now) || '0/s'], ['Size', bytes(value.size)],
      ['QoS', String(value.qos)], ['Retained', value.retained ? 'yes' : 'no'], ['Updates seen', short(topic.changes)]]
    rows.forEach(([name, text], index) => {
      if (facts.children.length <= index * 2) facts.append(element('dt', {}, name), element('dd'))
      setText(facts.children[index * 2 + 1]!, text)
    })
    paintChart(topic)
    if (value === shownValue) return
    shownValue = value
    if (value.truncated) void askForWhole(topic, value)
    const data = value.truncated ? whole ?? bytesOf(value) : bytesOf(value)
    const json = parsedJson(data) !== undefined
    const auto: Form = value.payload === undefined ? 'hex' : json ? 'json' : 'text'
    const shownForm = form === 'json' && !json ? 'text' : form ?? auto
    for (const button of forms.children) {
      button.setAttribute('aria-pressed', String(button.textContent === shownForm))
      ;(button as HTMLButtonElement).disabled = button.textContent === 'json' && !json
    }
    content.replaceChildren(render(data, shownForm))
  }

  // One question at a time, so a topic that changes fast is not asked for faster than it answers.
  const askForWhole = async (topic: Topic, value: Value): Promise<void> => {
    if (asking) return
    asking = true
    try {
      const path = '/api/v1/topics?payload=base64&filter=' + encodeURIComponent(topic.path)
      const answer = await getJson<{ topics: Value[] }>(path)
      if (topic === selected && answer.topics[0]) {
        whole = bytesOf(answer.topics[0])
        if (shownValue === value) shownValue = undefined
        value.truncated = whole.length < value.size
        if (!value.truncated) {
          value.payload_base64 = answer.topics[0].payload_base64!
          if (value.payload !== undefined) value.payload = new TextDecoder().decode(whole)
        }
        changed()
      }
    } catch {
      whole = undefined   // the next value shows its beginning, and asks again
    } finally {
      asking = false
      if (topic !== selected) shownValue = undefined   // a topic that was chosen meanwhile asks now
    }
  }

  const paintChart = (topic: Topic): void => {
    const samples = topic.samples
    if (samples.length < 2) return
    const wall = Date.now() / 1000 - performance.now() / 1000
    const data: uPlot.AlignedData = [samples.map(s => s.at / 1000 + wall), samples.map(s => s.number)]
    plot ??= timeChart(chart, 140, ['--accent'], false)
    plot.setData(data)
  }

  // ---- publishing
  const publishForm = (path: string): HTMLElement => {
    const topic = element('input', { value: path, required: true, spellcheck: false })
    const text = element('textarea', { rows: 3, spellcheck: false })
    const retain = element('input', { type: 'checkbox' })
    const qos = element('select', {}, ...['0', '1', '2'].map(one => element('option', {}, one)))
    const said = element('p', { role: 'status' })
    const submit = async (event: Event): Promise<void> => {
      event.preventDefault()
      said.textContent = ''
      try {
        const query = `?retain=${retain.checked}&qos=${qos.value}`
        await change('/api/v1/topics/' + pathPart(topic.value) + query, { method: 'POST', body: text.value })
        said.textContent = 'Published.'
      } catch (error) {
        said.textContent = (error as Error).message
      }
    }
    return element('form', { class: 'publish', submit: event => void submit(event) },
      element('h2', {}, 'Publish'),
      element('label', {}, 'Topic ', topic), element('label', {}, 'Payload ', text),
      element('div', { class: 'bar' }, element('label', {}, retain, ' Retain'), element('label', {}, 'QoS ', qos),
        element('button', { class: 'primary' }, 'Publish')),
      said)
  }

  // ---- frames: what changed since the last one is painted at once, at most once in 50 ms; ages, twice a second
  search.addEventListener('input', () => { tree.setSearch(search.value); cursor = 0; changed() })
  let frame = 0
  let timer = 0
  let paintedAt = -Infinity
  let isDue = false   // the next frame, for what changed
  let left = false
  const paintAfter = (ms: number): void => {
    clearTimeout(timer)
    timer = setTimeout(() => {
      cancelAnimationFrame(frame)
      frame = requestAnimationFrame(paintFrame)
    }, ms)
  }
  const paintFrame = (): void => {
    isDue = false
    paintedAt = performance.now()
    paintAfter(500)
    paint()
  }
  const changed = (): void => {
    if (isDue || left) return   // an answer may come for a view that was left
    isDue = true
    paintAfter(Math.max(0, paintedAt + 50 - performance.now()))
  }
  follow()
  return {
    leave() {
      left = true
      stream?.stop()
      clearTimeout(timer)
      cancelAnimationFrame(frame)
      plot?.destroy()
    },
    signedIn() {
      whole = undefined
      follow()
    },
  }
}
