// The parts of the page that need no browser.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { load } from './source.mjs'

const { clientPath } = await load('api.ts')
const { Metrics } = await load('metrics.ts')
const { charted, steps } = await load('steps.ts')
const { Topic, Tree } = await load('tree.ts')

describe('a client', () => {
  for (const [name, client, path] of [
    ['of a user', { id: 'lamp', user: 'ann&b', link: false }, 'lamp?user=ann%26b'],
    ['without a user', { id: 'a/../lamp?', user: null, link: false }, 'a%2F..%2Flamp%3F?user='],
    ['that is a link', { id: 'upstream/far', user: null, link: true }, 'upstream%2Ffar?link=true'],
  ]) {
    test(`${name} has this path`, () => assert.equal(clientPath(client), '/api/v1/clients/' + path))
  }
})

describe('the figures of the flow', () => {
  // Two scrapes, a second apart.
  const scrapes = (now, before = '') => [new Metrics(now, 1000), new Metrics(before, 0)]
  const shown = (card, now, before) => {
    const facts = steps.find(step => step.name === card).read(...scrapes(now, before), 1)
    return Object.fromEntries(facts.map(([name, text, alert]) => [name, [text, alert ?? false]]))
  }
  // By how many ms each of a hundred messages was late.
  const late = ms => [0.001, 0.01, 0.1, 0.2, 1, '+Inf'].map(bound =>
    `millrace_publish_to_write_seconds_bucket{le="${bound}"} ${bound === '+Inf' || ms / 1000 <= bound ? 100 : 0}\n`).join('')

  test('nothing is red where nothing happens', () => {
    for (const step of steps) {
      assert.deepEqual(step.read(...scrapes(''), 1).filter(([, , alert]) => alert), [], step.name)
    }
  })

  for (const [card, name, now, before, text, alert] of [
    ['2 decode', 'protocol faults', 'millrace_protocol_faults_total{reason="malformed"} 3', 'millrace_protocol_faults_total{reason="malformed"} 3', '0/s', false],
    ['2 decode', 'protocol faults', 'millrace_protocol_faults_total{reason="malformed"} 5', 'millrace_protocol_faults_total{reason="malformed"} 3', '2/s', true],
    ['4 submit', 'waiting', 'millrace_queue_depth 512\nmillrace_queue_capacity 1024', '', '512', false],
    ['4 submit', 'waiting', 'millrace_queue_depth 513\nmillrace_queue_capacity 1024', '', '513', true],
    ['5 apply', 'busy', 'millrace_batch_seconds_sum 10.7', 'millrace_batch_seconds_sum 10', '70 %', false],
    ['5 apply', 'busy', 'millrace_batch_seconds_sum 10.9', 'millrace_batch_seconds_sum 10', '90 %', true],
    ['8 deliver', 'slow clients', 'millrace_slow_sessions 0', '', '0', false],
    ['8 deliver', 'slow clients', 'millrace_slow_sessions 1', '', '1', true],
    ['8 deliver', 'dropped', 'millrace_messages_dropped_total{reason="queue"} 7\nmillrace_messages_dropped_total{reason="rate"} 1',
      'millrace_messages_dropped_total{reason="queue"} 7\nmillrace_messages_dropped_total{reason="rate"} 1', '0/s', false],
    ['8 deliver', 'dropped', 'millrace_messages_dropped_total{reason="queue"} 8\nmillrace_messages_dropped_total{reason="rate"} 3',
      'millrace_messages_dropped_total{reason="queue"} 7\nmillrace_messages_dropped_total{reason="rate"} 1', '3/s', true],
    ['9 write', 'latency, 99 %', late(99), '', '99 ms', false],
    ['9 write', 'latency, 99 %', late(150), '', '199 ms', true],
    ['9 write', 'latency, 99 %', late(150), late(150), '–', false],
    ['links', 'up', 'millrace_upstream_up{upstream="a"} 1\nmillrace_upstream_up{upstream="b"} 1', '', '2 of 2', false],
    ['links', 'up', 'millrace_upstream_up{upstream="a"} 1\nmillrace_upstream_up{upstream="b"} 0', '', '1 of 2', true],
  ]) {
    test(`${card}: ${name} ${text} is ${alert ? '' : 'not '}red`, () => {
      assert.deepEqual(shown(card, now, before)[name], [text, alert])
    })
  }

  test('a server that was started anew has no negative rates', () => {
    assert.deepEqual(shown('1 frame', 'millrace_socket_received_bytes_total 10', 'millrace_socket_received_bytes_total 500').received, ['0 B/s', false])
  })

  test('the charts get the queue beside its capacity, and the latency', () => {
    const queue = 'millrace_queue_depth 3\nmillrace_queue_capacity 1024\n'
    assert.deepEqual(charted(...scrapes(queue)), { depth: 3, capacity: 1024, median: null, p99: null })
    const { median, p99 } = charted(...scrapes(queue + late(5)))
    assert.deepEqual([median.toFixed(1), p99.toFixed(1)], ['5.5', '9.9'])   // within the bucket from 1 to 10 ms, in proportion
  })
})

describe('a tree of a hundred thousand topics', () => {
  const count = 100_000
  const tree = new Tree()
  const set = name => tree.set({ topic: name, payload: '1', size: 1, age_ms: 0, qos: 0, retained: false }, 0)
  for (let i = 0; i < count; ++i) set(`many/t${i}`)
  tree.toggle(tree.visible()[0], true)

  // What of it is looked at, and how many names are compared, while `act` runs.
  const work = act => {
    const [inOrder, sort] = [Topic.prototype.inOrder, Array.prototype.sort]
    const done = { topics: 0, comparisons: 0 }
    Topic.prototype.inOrder = function () {
      const children = inOrder.call(this)
      done.topics += children.length
      return children
    }
    Array.prototype.sort = function (compare) {
      return sort.call(this, (a, b) => {
        ++done.comparisons
        return compare(a, b)
      })
    }
    try {
      act()
    } finally {
      Object.assign(Topic.prototype, { inOrder })
      Object.assign(Array.prototype, { sort })
    }
    return done
  }
  const nothing = { topics: 0, comparisons: 0 }
  const all = count + 1   // and the level above them

  test('is looked at once when it is opened', () => {
    const { topics } = work(() => assert.equal(tree.visible().length, all))
    assert.equal(topics, all)
  })

  test('is not looked at again for a key, a scroll, a frame or a value', () => {
    const rows = tree.visible()
    assert.deepEqual(work(() => {
      for (let i = 0; i < 1000; ++i) {
        set(`many/t${i}`)
        assert.equal(tree.visible(), rows)
      }
    }), nothing)
  })

  test('is looked at once for all topics that came or went since the last frame, and what was in order is not sorted again', () => {
    for (const [change, length] of [[name => set(name), all + 100], [name => tree.remove(name), all]]) {
      const { topics, comparisons } = work(() => {
        for (let i = 0; i < 100; ++i) change(`many/new${i}`)
        assert.equal(tree.visible().length, length)
      })
      assert.equal(topics, length)
      assert.ok(comparisons < 2 * count, `${comparisons} comparisons`)
    }
  })

  test('is looked at once for each text that is searched for', () => {
    assert.deepEqual(work(() => {
      tree.setSearch('T1234')
      for (let frame = 0; frame < 100; ++frame) assert.equal(tree.visible().length, 11)
    }), { topics: all, comparisons: 0 })
    tree.setSearch('')
  })

  test('is not looked at where it is closed', () => {
    tree.toggle(tree.visible()[0], false)
    assert.deepEqual(work(() => assert.equal(tree.visible().length, 1)), { topics: 1, comparisons: 0 })
  })
})
