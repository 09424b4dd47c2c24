// Requests to the server that this page came from, with the password or token that the user gave, which
// is kept here alone.
import { ask, byId } from './dom'

// When nothing has come of an answer for so long, the server, or the way to it, is gone, though nobody has
// closed the connection.
const idleMsMax = 10_000
export const noAnswer = 'The server does not answer.'

let authorization = ''
const listeners: (() => void)[] = []

export class Refused extends Error {
  constructor(readonly status: number, message: string) {
    super(message)
  }
}

// Called when somebody has signed in.
export function onSignIn(listener: () => void): void {
  listeners.push(listener)
}

export async function signIn(): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>('sign-in-dialog')
  const form = dialog.querySelector('form')!
  if (dialog.open || !await ask(dialog)) return false
  const data = new FormData(form)
  const user = String(data.get('user'))
  const secret = String(data.get('password'))
  authorization = user ? 'Basic ' + btoa(String.fromCharCode(...new TextEncoder().encode(`${user}:${secret}`)))
    : secret ? 'Bearer ' + secret.trim() : ''
  form.reset()
  byId('sign-in').textContent = user || (secret ? 'Token' : 'Sign in')
  listeners.forEach(listener => listener())
  return true
}

// The browser's own passwords and its own question for one stay out of it. `idleMs`: how long nothing may
// come of an answer that has begun.
export async function request(path: string, init: RequestInit = {}, idleMs = idleMsMax): Promise<Response> {
  const headers = new Headers(init.headers)
  if (authorization) headers.set('Authorization', authorization)
  const idle = new IdleTimeout(init.signal)
  idle.start(idleMsMax)
  let response: Response
  try {
    response = await fetch(path, { cache: 'no-store', ...init, headers, signal: idle.signal, credentials: 'omit' })
  } catch (error) {
    idle.stop()
    throw init.signal?.aborted ? error : new Error(noAnswer)
  }
  const answer = idle.watched(response, idleMs)
  if (answer.ok) return answer
  const text = await answer.text()
  let detail = text.trim() || answer.statusText
  if (answer.headers.get('Content-Type') === 'application/problem+json') detail = JSON.parse(text).detail
  throw new Refused(answer.status, detail)
}

// Gives a request up when nothing has come for a while. The timer is not AbortSignal.timeout(), which cannot
// begin again.
class IdleTimeout {
  private readonly tooLong = new AbortController()
  private timer = 0
  readonly signal: AbortSignal

  constructor(given: AbortSignal | null | undefined) {
    this.signal = given ? AbortSignal.any([given, this.tooLong.signal]) : this.tooLong.signal
  }
  start(ms: number): void {
    this.stop()
    this.timer = setTimeout(() => this.tooLong.abort(new Error(noAnswer)), ms)
  }
  stop(): void {
    clearTimeout(this.timer)
  }
  // The same answer; each part of it that comes starts the time anew.
  watched(response: Response, ms: number): Response {
    this.stop()
    if (!response.body || response.status === 204) return response
    this.start(ms)
    const parts = new TransformStream<Uint8Array, Uint8Array>({
      transform: (part, out) => {
        this.start(ms)
        out.enqueue(part)
      },
      flush: () => this.stop(),
    })
    return new Response(response.body.pipeThrough(parts), response)
  }
}

export async function getJson<Type>(path: string, signal?: AbortSignal): Promise<Type> {
  return await (await request(path, signal ? { signal } : {})).json()
}

// For what a user asked for: whoever needs a password for it is asked for one, once.
export async function change(path: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await request(path, init)
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 401 || !await signIn()) throw error
    return await request(path, init)
  }
}

// A topic or a client identifier as one part of a path: its slashes must be escaped, or the browser would
// resolve a level `..` and ask for another one.
export const pathPart = (name: string) => encodeURIComponent(name)
// Several users may have a client of one identifier, and a link may be called as a client is.
export const clientPath = (client: { id: string; user: string | null; link: boolean }) =>
  '/api/v1/clients/' + pathPart(client.id) + (client.link ? '?link=true' : '?user=' + pathPart(client.user ?? ''))
