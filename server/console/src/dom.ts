// The few helpers with which the views make their elements. Text always goes in as text.

type Attributes = Record<string, string | number | boolean | ((event: Event) => void)>

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag, attributes: Attributes = {}, ...children: (Node | string)[]): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(name, value)
    else if (value === true) made.setAttribute(name, '')
    else if (value !== false) made.setAttribute(name, String(value))
  }
  made.append(...children)
  return made
}

export function byId<Type extends HTMLElement>(id: string): Type {
  return document.getElementById(id) as Type
}

// Resolves to true if the dialog was left by its button "ok".
export function ask(dialog: HTMLDialogElement): Promise<boolean> {
  dialog.returnValue = ''
  dialog.showModal()
  return new Promise(resolve => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'ok'), { once: true })
  })
}

const thousand = ['', ' k', ' M', ' G', ' T']
export function short(value: number): string {
  let unit = 0
  while (Math.abs(value) >= 999.5 && unit < thousand.length - 1) {
    value /= 1000
    ++unit
  }
  const digits = value >= 100 || Number.isInteger(value) ? 0 : value >= 10 ? 1 : 2
  return value.toFixed(digits) + thousand[unit]
}
export const bytes = (value: number) => short(value).replace(/( \w)?$/, unit => (unit || ' ') + 'B')

export function duration(ms: number): string {
  if (ms < 1000) return Math.round(ms) + ' ms'
  const s = ms / 1000
  if (s < 10) return s.toFixed(1) + ' s'
  if (s < 120) return Math.round(s) + ' s'
  if (s < 7200) return Math.round(s / 60) + ' min'
  if (s < 172800) return Math.round(s / 3600) + ' h'
  return Math.round(s / 86400) + ' d'
}

// Text as one word of a shell's line. A control character would be a key to the terminal that it is pasted
// into, so it is spelled out, as bash, ksh and zsh know it.
export function shellWord(text: string): string {
  if (!/[\u0000-\u001f\u007f-\u009f]/.test(text)) return "'" + text.replaceAll("'", "'\\''") + "'"
  const escape = (c: string) => [...new TextEncoder().encode(c)].map(byte => '\\x' + byte.toString(16).padStart(2, '0')).join('')
  return "$'" + text.replace(/[\\']/g, c => '\\' + c).replace(/[\u0000-\u001f\u007f-\u009f]/g, escape) + "'"
}

// Control characters and those that turn the direction of text shall not pass for something else.
export function visible(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    c => c === '\n' || c === '\t' ? ' ' : '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'))
}
