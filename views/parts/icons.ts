import { type Html, trusted } from '../../plugins/lib/html.ts'

/** Icons of 16 by 16 units with a stroke of 1.5, in the colour of the surrounding text. */
const DRAWINGS = {
  apps: '<rect x="2" y="2" width="5" height="5" rx="1.2"/><rect x="9" y="2" width="5" height="5" rx="1.2"/><rect x="2" y="9" width="5" height="5" rx="1.2"/><rect x="9" y="9" width="5" height="5" rx="1.2"/>',
  arrow: '<path d="M3 8h10M9 4l4 4-4 4"/>',
  back: '<path d="M13 8H3M7 4 3 8l4 4"/>',
  bell: '<path d="M4 11V7a4 4 0 0 1 8 0v4l1 1H3zM6.5 14h3"/>',
  bolt: '<path d="M8.8 1.5 3 9h4.2L7 14.5 13 7H8.6z"/>',
  branch:
    '<circle cx="4.5" cy="3.5" r="1.5"/><circle cx="4.5" cy="12.5" r="1.5"/><circle cx="11.5" cy="5" r="1.5"/><path d="M4.5 5v6M11.5 6.5c0 2.5-7 1.5-7 4"/>',
  box: '<path d="M8 1.8 13.8 5v6L8 14.2 2.2 11V5zM2.4 5.1 8 8.2l5.6-3.1M8 8.2v5.8"/>',
  card: '<rect x="1.8" y="3.2" width="12.4" height="9.6" rx="1.6"/><path d="M1.8 6.5h12.4M4.5 10h2"/>',
  check: '<path d="m3 8.5 3.2 3.2L13 4.8"/>',
  chevron: '<path d="m5 6.5 3-3 3 3M5 9.5l3 3 3-3"/>',
  clock: '<circle cx="8" cy="8" r="6"/><path d="M8 4.8V8l2.2 1.6"/>',
  copy: '<rect x="5.5" y="5.5" width="8" height="8" rx="1.4"/><path d="M10.5 3.2A1.2 1.2 0 0 0 9.4 2.5H3.9a1.4 1.4 0 0 0-1.4 1.4v5.5c0 .5.3.9.7 1.1"/>',
  cross: '<path d="m4 4 8 8M12 4l-8 8"/>',
  dashboard: '<path d="M2.5 9.5a5.5 5.5 0 1 1 11 0M8 9.5l2.6-3M2.5 12.8h11"/>',
  docs: '<path d="M3.5 2.5h6l3 3v8h-9zM9.5 2.5v3h3M5.8 8.5h4.4M5.8 11h4.4"/>',
  dot: '<circle cx="8" cy="8" r="2.4" fill="currentColor" stroke="none"/>',
  download: '<path d="M8 2.5v7.7M4.8 7.2 8 10.4l3.2-3.2M2.8 13.4h10.4"/>',
  external: '<path d="M6.5 3.5h-3v9h9v-3M9 3h4v4M13 3 7.5 8.5"/>',
  gear: '<circle cx="8" cy="8" r="2.1"/><path d="M8 1.8v1.7M8 12.5v1.7M14.2 8h-1.7M3.5 8H1.8M12.4 3.6l-1.2 1.2M4.8 11.2l-1.2 1.2M12.4 12.4l-1.2-1.2M4.8 4.8 3.6 3.6"/>',
  github:
    '<path fill="currentColor" stroke="none" d="M8 1.2a6.9 6.9 0 0 0-2.2 13.4c.4.1.5-.1.5-.3v-1.3c-1.9.4-2.3-.8-2.3-.8-.3-.8-.8-1-.8-1-.6-.4.1-.4.1-.4.7 0 1.1.7 1.1.7.6 1.1 1.6.8 2 .6.1-.5.3-.8.5-.9-1.5-.2-3.2-.8-3.2-3.4 0-.8.3-1.4.7-1.9-.1-.2-.3-.9.1-1.9 0 0 .6-.2 1.9.7a6.5 6.5 0 0 1 3.5 0c1.3-.9 1.9-.7 1.9-.7.4 1 .1 1.7.1 1.9.4.5.7 1.1.7 1.9 0 2.6-1.6 3.2-3.2 3.4.3.2.5.6.5 1.3v1.9c0 .2.1.4.5.3A6.9 6.9 0 0 0 8 1.2z"/>',
  globe: '<circle cx="8" cy="8" r="6"/><path d="M2 8h12M8 2c3.6 3.8 3.6 8.2 0 12-3.6-3.8-3.6-8.2 0-12z"/>',
  info: '<circle cx="8" cy="8" r="6"/><path d="M8 7.3v3.7M8 4.9v.1"/>',
  key: '<circle cx="5.2" cy="10.8" r="2.7"/><path d="m7.2 8.8 5.6-5.6M10.6 5.4l1.9 1.9"/>',
  lock: '<rect x="3" y="7" width="10" height="6.8" rx="1.5"/><path d="M5.3 7V5a2.7 2.7 0 0 1 5.4 0v2"/>',
  logs: '<path d="M2.5 4h11M2.5 8h8M2.5 12h5"/>',
  menu: '<path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11"/>',
  minus: '<path d="M3.5 8h9"/>',
  moon: '<path d="M13.3 9.6A5.7 5.7 0 0 1 6.4 2.7a5.7 5.7 0 1 0 6.9 6.9z"/>',
  never: '<circle cx="8" cy="8" r="5.8" stroke-dasharray="2.4 2.2"/>',
  ok: '<circle cx="8" cy="8" r="6" fill="currentColor" fill-opacity=".16"/><path d="m5.4 8.2 1.8 1.8 3.4-3.8"/>',
  palette:
    '<circle cx="8" cy="8" r="6"/><path d="M8 2v12" /><path fill="currentColor" stroke="none" d="M8 2a6 6 0 0 1 0 12z"/>',
  people:
    '<circle cx="6" cy="5.5" r="2.5"/><path d="M1.8 13.5c0-2.4 1.8-4 4.2-4s4.2 1.6 4.2 4M10.5 3.2a2.4 2.4 0 0 1 0 4.6M12 9.9c1.4.5 2.2 1.8 2.2 3.6"/>',
  plus: '<path d="M8 3v10M3 8h10"/>',
  redo: '<path d="M13.2 6.5A5.4 5.4 0 1 0 13.4 9M13.4 2.8v3.8H9.6"/>',
  rocket:
    '<path d="M6 10 3.8 7.8l1.8-2.6L8.3 5C9.6 3.2 11.3 2.2 13.7 2.3c.1 2.4-.9 4.1-2.7 5.4l-.2 2.7-2.6 1.8zM4.8 10.7 2.7 13.3l2.6-2.1"/>',
  rollback: '<path d="M3 6.2h6.6a3.6 3.6 0 0 1 0 7.2H6M5.8 3.2l-3 3 3 3"/>',
  search: '<circle cx="7" cy="7" r="4.3"/><path d="m10.3 10.3 3.2 3.2"/>',
  shield: '<path d="M8 1.8 13 3.6v4c0 3.2-2 5.4-5 6.6-3-1.2-5-3.4-5-6.6v-4z"/>',
  signout: '<path d="M6.5 2.8h-3v10.4h3M10 5l3 3-3 3M13 8H6.5"/>',
  slash: '<circle cx="8" cy="8" r="6"/><path d="m4 12 8-8"/>',
  spinner: '<circle cx="8" cy="8" r="6" opacity=".25"/><path d="M8 2a6 6 0 0 1 6 6"/>',
  stop: '<circle cx="8" cy="8" r="6" fill="currentColor" fill-opacity=".14"/><path d="m5.9 5.9 4.2 4.2M10.1 5.9l-4.2 4.2"/>',
  sun: '<circle cx="8" cy="8" r="2.8"/><path d="M8 1.5v1.3M8 13.2v1.3M14.5 8h-1.3M2.8 8H1.5M12.6 3.4l-.9.9M4.3 11.7l-.9.9M12.6 12.6l-.9-.9M4.3 4.3l-.9-.9"/>',
  terminal: '<rect x="1.8" y="2.8" width="12.4" height="10.4" rx="1.6"/><path d="m4.5 6.2 2 1.9-2 1.9M8.3 10.2h3"/>',
  trash: '<path d="M2.8 4.3h10.4M6 4.3V2.8h4v1.5M4.2 4.3l.6 9h6.4l.6-9M6.7 7v3.7M9.3 7v3.7"/>',
  up: '<path d="M8 13V3M4 7l4-4 4 4"/>',
  user: '<circle cx="8" cy="5.3" r="2.7"/><path d="M2.8 13.8c.3-2.9 2.3-4.6 5.2-4.6s4.9 1.7 5.2 4.6"/>',
  warn: '<path d="M8 2.2 14.4 13.3H1.6zM8 6.3v3.4M8 11.5v.1"/>',
  wrench:
    '<path d="M10.2 4.3a3 3 0 0 1 3.8-2.9l-1.9 1.9.7.7 1.9-1.9a3 3 0 0 1-3.9 3.7l-5.7 5.7a1.7 1.7 0 0 1-2.4-2.4l5.5-5.5"/>'
} as const

export type IconName = keyof typeof DRAWINGS
export const ICONS = Object.keys(DRAWINGS) as IconName[]

/** An icon beside words with the same meaning; screen readers skip it. */
export function icon(name: IconName, extra = ''): Html {
  return MADE.get(`${name} ${extra}`) ?? draw(name, extra)
}

/** Icons are constants, so each is rendered once. */
const MADE = new Map<string, Html>()

function draw(name: IconName, extra: string): Html {
  if (!/^[a-z -]*$/.test(extra)) throw new TypeError(`"${extra}" is no class`)
  const classes = extra === '' ? 'icon' : `icon ${extra}`
  const made = trusted(`<svg class="${classes}" viewBox="0 0 16 16" aria-hidden="true">${DRAWINGS[name]}</svg>`)
  MADE.set(`${name} ${extra}`, made)
  return made
}

/** Rhone's logo, a river in a square, beside its name. */
export const MARK = trusted(
  '<svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="7" fill="#0b5cad"/><path d="M6 12c5-5 8 5 13 0s5-3 7-2M6 21c5-5 8 5 13 0s5-3 7-2" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"/></svg>'
)

/** The logo as a separate file, for the browser tab. */
export const ICON_FILE = MARK.toString().replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" ')
