// Requests to the server that this page came from, with the password or token that the user gave, which
// is kept here alone.
import { ask, byId } from './dom'

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

// The browser's own passwords and its own question for one stay out of it.
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers)
  if (authorization) headers.set('Authorization', authorization)
  const response = await fetch(path, { cache: 'no-store', ...init, headers, credentials: 'omit' })
  if (response.ok) return response
  const text = await response.text()
  let detail = text.trim() || response.statusText
  if (response.headers.get('Content-Type') === 'application/problem+json') detail = JSON.parse(text).detail
  throw new Refused(response.status, detail)
}

export async function getJson<Type>(path: string, signal?: AbortSignal): Promise<Type> {
  return await (await request(path, signal ? { signal } : {})).json()
}

// For what a user asked for: whoever needs a password for it is asked for one, once.
export async function change(path: string, init: RequestInit): Promise<Response> {
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
