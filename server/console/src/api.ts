// Requests to the server that this page came from, with the password or token that the user gave, which
// is kept here alone.
import { ask, byId } from './dom'

// Nothing comes of an answer for so long: the server, or the way to it, is gone, though nobody has closed
// the connection.
const silentMsMax = 10_000
const noAnswer = 'The server does not answer.'

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

// The browser's own passwords and its own question for one stay out of it. `silentMs`: how long nothing may
// come of an answer that has begun.
export async function request(path: string, init: RequestInit = {}, silentMs = silentMsMax): Promise<Response> {
  const headers = new Headers(init.headers)
  if (authorization) headers.set('Authorization', authorization)
  const silence = new Silence(init.signal)
  silence.begin(silentMsMax)
  let response: Response
  try {
    response = await fetch(path, { cache: 'no-store', ...init, headers, signal: silence.signal, credentials: 'omit' })
  } catch (error) {
    silence.end()
    throw init.signal?.aborted ? error : new Error(noAnswer)
  }
  const answer = silence.watched(response, silentMs)
  if (answer.ok) return answer
  const text = await answer.text()
  let detail = text.trim() || answer.statusText
  if (answer.headers.get('Content-Type') === 'application/problem+json') detail = JSON.parse(text).detail
  throw new Refused(answer.status, detail)
}

// Gives a request up when nothing has come for a while. The timer is not AbortSignal.timeout(), which cannot
// begin again.
class Silence {
  private readonly tooLong = new AbortController()
  private timer = 0
  readonly signal: AbortSignal

  constructor(given: AbortSignal | null | undefined) {
    this.signal = given ? AbortSignal.any([given, this.tooLong.signal]) : this.tooLong.signal
  }
  begin(ms: number): void {
    this.end()
    this.timer = setTimeout(() => this.tooLong.abort(new Error(noAnswer)), ms)
  }
  end(): void {
    clearTimeout(this.timer)
  }
  // The same answer; each part of it that comes ends one silence and begins another.
  watched(response: Response, ms: number): Response {
    this.end()
    if (!response.body || response.status === 204) return response
    this.begin(ms)
    const parts = new TransformStream<Uint8Array, Uint8Array>({
      transform: (part, out) => {
        this.begin(ms)
        out.enqueue(part)
      },
      flush: () => this.end(),
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
