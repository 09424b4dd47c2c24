// The stream of live values (/events). Not an EventSource, since that cannot say a password; it behaves
// like one: it comes again by itself and says how far it is.
import { Refused, noAnswer, request } from './api'

export interface Value {
  topic: string
  payload?: string
  payload_base64?: string
  truncated?: boolean
  size: number
  age_ms: number
  qos: number
  retained: boolean
  cleared?: boolean
}

export interface Listener {
  // Nothing of before holds any more.
  begin(): void
  value(value: Value): void
  state(text: string, live: boolean): void
}

// Where no value changes, the server says so every 15 s (server/http/events.hpp).
const heartbeatMs = 15_000
const silentHeartbeatsMax = 3

export class Events {
  private abort = new AbortController()
  private id = ''

  constructor(private readonly query: string, private readonly listener: Listener) {
    void this.run()
  }

  stop(): void {
    this.abort.abort()
  }

  private async run(): Promise<void> {
    for (let wait = 250; !this.abort.signal.aborted; wait = Math.min(wait * 2, 5000)) {
      try {
        const headers: HeadersInit = this.id ? { 'Last-Event-ID': this.id } : {}
        const response = await request('/events?' + this.query, { headers, signal: this.abort.signal },
          silentHeartbeatsMax * heartbeatMs)
        wait = 250
        await this.read(response.body!)
        this.listener.state('The connection ended.', false)
      } catch (error) {
        if (this.abort.signal.aborted) return
        const why = error instanceof Refused ? error.message : noAnswer
        this.listener.state(why, false)
        if (error instanceof Refused && error.status < 500) return
      }
      await new Promise(resolve => setTimeout(resolve, wait))
    }
  }

  private async read(body: ReadableStream<Uint8Array>): Promise<void> {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ''
    let event = ''
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      const lines = (rest + value).split('\n')
      rest = lines.pop()!
      for (const line of lines) {
        if (line.startsWith('data: ')) this.dispatch(event, line.slice(6))
        else if (line.startsWith('id: ')) this.id = line.slice(4)
        else if (line.startsWith('event: ')) event = line.slice(7)
        else if (line === '') event = ''
      }
    }
  }

  private dispatch(event: string, data: string): void {
    const parsed = JSON.parse(data)
    if (event === '') return this.listener.value(parsed)
    if (!parsed.resumed) this.listener.begin()
    this.listener.state('Live', true)
  }
}
