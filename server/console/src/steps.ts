// The steps of a message's way through the server: what the view of the flow shows of each, and what of it is
// wrong; and what it draws.
import { bytes, duration, short } from './dom'
import type { Metrics } from './metrics'

export const latency = (seconds: number) => Number.isNaN(seconds) ? '–' : seconds < 0.001 ? Math.round(seconds * 1e6) + ' µs' : duration(seconds * 1000)

export interface Step {
  name: string
  says: string
  // What is measured, its value, and whether that is wrong.
  read(now: Metrics, before: Metrics, seconds: number): [string, string, boolean?][]
}

export const steps: Step[] = [
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

// A point of each line of the charts; null: nothing was delivered meanwhile.
export interface Charted {
  depth: number           // of the queue to the processor
  capacity: number
  median: number | null   // of the latency, ms
  p99: number | null
}
export function charted(now: Metrics, before: Metrics): Charted {
  const ms = (share: number) => {
    const value = now.quantile(before, 'millrace_publish_to_write_seconds', share)
    return Number.isNaN(value) ? null : value * 1000
  }
  return { depth: now.sum('millrace_queue_depth'), capacity: now.sum('millrace_queue_capacity'), median: ms(0.5), p99: ms(0.99) }
}
