// A payload as text, as JSON that can be folded, as hex.
import { element, visible } from './dom'

export type Form = 'text' | 'json' | 'hex'
const shownBytesMax = 256 * 1024
const hexBytesMax = 16 * 1024

export function bytesOf(value: { payload?: string; payload_base64?: string }): Uint8Array {
  if (value.payload !== undefined) return new TextEncoder().encode(value.payload)
  return Uint8Array.from(atob(value.payload_base64 ?? ''), c => c.charCodeAt(0))
}

export function parsedJson(data: Uint8Array): unknown {
  if (data.length > shownBytesMax) return undefined
  try {
    const parsed: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data))
    return typeof parsed === 'object' && parsed !== null ? parsed : undefined
  } catch {
    return undefined
  }
}

export function render(data: Uint8Array, form: Form): HTMLElement {
  const shown = data.subarray(0, form === 'hex' ? hexBytesMax : shownBytesMax)
  const box = element('div', { class: 'payload', tabindex: 0, role: 'region', 'aria-label': 'Payload' })
  if (form === 'json') box.append(fold(parsedJson(data), ''))
  else if (form === 'hex') box.append(element('pre', {}, hex(shown)))
  else box.append(element('pre', { dir: 'ltr' }, new TextDecoder().decode(shown).split('\n').map(visible).join('\n')))
  if (shown.length < data.length) box.append(element('p', {}, `The first ${shown.length} of ${data.length} bytes.`))
  return box
}

function fold(value: unknown, key: string): HTMLElement {
  const label = key === '' ? '' : visible(key) + ': '
  if (typeof value !== 'object' || value === null) {
    return element('div', { class: 'leaf' }, label + visible(JSON.stringify(value) ?? ''))
  }
  const entries = Object.entries(value)
  const kind = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`
  const details = element('details', {}, element('summary', {}, label + kind))
  const open = () => {
    if (details.childElementCount === 1) details.append(...entries.slice(0, 1000).map(([name, one]) => fold(one, name)))
  }
  details.addEventListener('toggle', open)
  if (entries.length <= 50) {
    open()
    details.open = true
  }
  return details
}

function hex(data: Uint8Array): string {
  const lines = []
  for (let at = 0; at < data.length; at += 16) {
    const row = data.subarray(at, at + 16)
    const codes = [...row].map(byte => byte.toString(16).padStart(2, '0')).join(' ')
    const text = [...row].map(byte => byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.').join('')
    lines.push(at.toString(16).padStart(6, '0') + '  ' + codes.padEnd(48) + ' ' + text)
  }
  return lines.join('\n')
}
