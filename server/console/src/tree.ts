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
  private ordered: Topic[] = []   // the children by name, once they are asked for
  private added = false           // since then: at its end
  private removed = false
  samples: Sample[] = []

  constructor(readonly name: string, readonly level: number, readonly parent: Topic | undefined) {}

  get path(): string {
    if (this.level <= 0) return this.name
    return this.parent!.path + '/' + this.name
  }

  child(name: string): Topic {
    let found = this.children.get(name)
    if (!found) {
      found = new Topic(name, this.level + 1, this)
      this.children.set(name, found)
      this.ordered.push(found)
      this.added = true
    }
    return found
  }

  removeChild(name: string): void {
    this.children.delete(name)
    this.removed = true
  }

  // What is in order already is not compared again with all else, so that a hundred thousand topics may
  // come in many parts.
  inOrder(): Topic[] {
    if (this.removed) this.ordered = this.ordered.filter(one => this.children.get(one.name) === one)
    if (this.removed || this.added) this.ordered.sort((a, b) => a.name < b.name ? -1 : 1)
    this.removed = this.added = false
    return this.ordered
  }
}

const samplesMax = 300
const rateSeconds = 5

export class Tree {
  private top = new Topic('', -1, undefined)   // above all topics
  size = 0
  private rows: Topic[] = []
  private stale = true
  private search = ''

  clear(): void {
    this.top = new Topic('', -1, undefined)
    this.size = 0
    this.stale = true
  }

  set(value: Value, now: number): Topic {
    let found = this.top
    for (const name of value.topic.split('/')) {
      if (!found.children.has(name)) this.stale = true
      found = found.child(name)
    }
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
    let topic: Topic | undefined = this.top
    for (const name of path.split('/')) {
      topic = topic.children.get(name)
      if (!topic) return
    }
    if (!topic.value) return
    topic.value = undefined
    this.add(topic, -1)
    for (let at = topic; at.parent && !at.value && at.children.size === 0; at = at.parent) at.parent.removeChild(at.name)
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
    const visit = (parent: Topic): void => {
      for (const topic of parent.inOrder()) {
        if (this.search === '') {
          this.rows.push(topic)
          if (topic.open) visit(topic)
        } else {
          if (topic.value && topic.path.toLowerCase().includes(this.search)) this.rows.push(topic)
          visit(topic)
        }
      }
    }
    visit(this.top)
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
