// The topics as a tree, and the rows of it that are to be seen: made anew only when what is open changes
// or a topic comes or goes, however many values change.
import type { Value } from './events'

export interface Sample {
  at: number  // ms, this page's clock
  number: number
}

export class Topic {
  readonly children = new Map<string, Topic>()
  open = false
  value: Value | undefined
  receivedAt = 0    // ms, this page's clock, less its age then
  changes = 0       // since the page was opened
  rate = 0          // a second
  rateAt = 0
  count = 0         // of the topics below that have a value
  samples: Sample[] = []

  constructor(readonly name: string, readonly level: number, readonly parent: Topic | undefined) {}

  get path(): string {
    if (this.level === 0) return this.name
    return this.parent!.path + '/' + this.name
  }
}

const samplesMax = 300
const rateSeconds = 5

export class Tree {
  readonly roots = new Map<string, Topic>()
  size = 0
  private rows: Topic[] = []
  private stale = true
  private search = ''

  clear(): void {
    this.roots.clear()
    this.size = 0
    this.stale = true
  }

  set(value: Value, now: number): Topic {
    let topic: Topic | undefined
    let siblings = this.roots
    const names = value.topic.split('/')
    names.forEach((name, level) => {
      let next = siblings.get(name)
      if (!next) {
        next = new Topic(name, level, topic)
        siblings.set(name, next)
        this.stale = true
      }
      topic = next
      siblings = next.children
    })
    const found = topic!
    if (!found.value) this.add(found, 1)
    found.value = value
    found.receivedAt = now - value.age_ms
    found.changes++
    const seconds = (now - found.rateAt) / 1000
    // An average that forgets: what came `rateSeconds` ago counts for a third.
    found.rate = found.rateAt === 0 ? 0 : found.rate * Math.exp(-seconds / rateSeconds) + 1 / rateSeconds
    found.rateAt = now
    const number = value.payload === undefined || value.truncated || value.payload.trim() === '' ? NaN : Number(value.payload)
    if (Number.isFinite(number)) {
      const last = found.samples.at(-1)?.at ?? 0   // time does not go back, whatever is known of ages
      found.samples.push({ at: Math.max(last, found.receivedAt), number })
      if (found.samples.length > samplesMax) found.samples.shift()
    }
    return found
  }

  remove(path: string): void {
    let topic: Topic | undefined
    let siblings = this.roots
    for (const name of path.split('/')) {
      topic = siblings.get(name)
      if (!topic) return
      siblings = topic.children
    }
    if (!topic!.value) return
    topic!.value = undefined
    this.add(topic!, -1)
    for (let at = topic; at && !at.value && at.children.size === 0; at = at.parent) {
      (at.parent ? at.parent.children : this.roots).delete(at.name)
    }
    this.stale = true
  }

  setSearch(text: string): void {
    this.search = text.toLowerCase()
    this.stale = true
  }

  toggle(topic: Topic, open: boolean): void {
    topic.open = open
    this.stale = true
  }

  // While something is searched for, a flat list of what was found.
  visible(): Topic[] {
    if (!this.stale) return this.rows
    this.stale = false
    this.rows = []
    const sorted = (topics: Map<string, Topic>) =>
      [...topics.values()].sort((a, b) => a.name < b.name ? -1 : 1)
    const visit = (topics: Map<string, Topic>): void => {
      for (const topic of sorted(topics)) {
        if (this.search === '') {
          this.rows.push(topic)
          if (topic.open) visit(topic.children)
        } else {
          if (topic.value && topic.path.toLowerCase().includes(this.search)) this.rows.push(topic)
          visit(topic.children)
        }
      }
    }
    visit(this.roots)
    return this.rows
  }

  get searching(): boolean {
    return this.search !== ''
  }

  private add(topic: Topic, count: number): void {
    this.size += count
    for (let at = topic.parent; at; at = at.parent) at.count += count
  }
}
