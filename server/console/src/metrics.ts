// One scrape of /metrics, and what changed since another.

interface Sample {
  labels: string
  value: number
}

export class Metrics {
  private readonly samples = new Map<string, Sample[]>()

  constructor(text: string, readonly at: number) {
    for (const line of text.split('\n')) {
      const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line)
      if (!match) continue
      const [, name, labels, value] = match
      const list = this.samples.get(name!) ?? []
      list.push({ labels: labels ?? '', value: Number(value) })
      this.samples.set(name!, list)
    }
  }

  private of(name: string): Sample[] {
    return this.samples.get(name) ?? []
  }
  sum(name: string): number {
    return this.of(name).reduce((total, sample) => total + sample.value, 0)
  }
  max(name: string): number {
    return this.of(name).reduce((most, sample) => Math.max(most, sample.value), 0)
  }
  count(name: string): number {
    return this.of(name).length
  }

  // A second. A counter that became less belongs to a server that has just started.
  rate(before: Metrics, name: string, seconds: number): number {
    return Math.max(0, this.sum(name) - before.sum(name)) / seconds
  }

  // Of a histogram, what came since: the upper bound of each bucket, and how many are in it.
  histogram(before: Metrics, name: string): [number, number][] {
    let below = 0
    return this.since(before, name).map(([bound, count]) => {
      const own = count - below
      below = count
      return [bound, Math.max(0, own)]
    })
  }

  // Of a histogram, over what came since; NaN: nothing did. Within a bucket, in proportion.
  quantile(before: Metrics, name: string, share: number): number {
    const counts = this.since(before, name)
    const total = counts.at(-1)?.[1] ?? 0
    if (total <= 0) return NaN
    let lower = 0
    let below = 0
    for (const [bound, count] of counts) {
      if (count >= share * total) {
        if (bound === Infinity) return lower
        return lower + (bound - lower) * (share * total - below) / Math.max(1, count - below)
      }
      lower = bound
      below = count
    }
    return lower
  }

  // A server that has just started has counted less than the one before it.
  private since(before: Metrics, name: string): [number, number][] {
    const old = new Map(before.buckets(name))
    return this.buckets(name).map(([bound, count]) => [bound, Math.max(0, count - (old.get(bound) ?? 0))])
  }

  // Bounds and cumulated counts, over all labels but `le`.
  private buckets(name: string): [number, number][] {
    const counts = new Map<number, number>()
    for (const sample of this.of(name + '_bucket')) {
      const bound = /le="([^"]+)"/.exec(sample.labels)![1]!
      const key = bound === '+Inf' ? Infinity : Number(bound)
      counts.set(key, (counts.get(key) ?? 0) + sample.value)
    }
    return [...counts].sort((a, b) => a[0] - b[0])
  }
}
