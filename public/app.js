/* Enhancements. Every page works without this file, with links and forms alone. */

const root = document.documentElement
root.classList.add('scripted')
const isMac = /mac/i.test(navigator.userAgentData?.platform ?? navigator.platform)
const find = (selector, within = document) => within.querySelector(selector)
const findAll = (selector, within = document) => [...within.querySelectorAll(selector)]

/* Times: relative ones are kept current, and titles show the exact time in the user's time zone. */

const UNITS = [[60, 's'], [60, 'm'], [24, 'h'], [30, 'd'], [12, 'mo'], [Infinity, 'y']]
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' })

function inUnits(seconds) {
  let left = seconds
  for (const [size, unit] of UNITS) {
    if (left < size) return `${Math.floor(left)}${unit}`
    left /= size
  }
}

function relative(at) {
  const seconds = (Date.now() - at) / 1000
  if (Math.abs(seconds) < 10) return 'now'
  return seconds > 0 ? `${inUnits(seconds)} ago` : `in ${inUnits(-seconds)}`
}

function updateTimes(within = document) {
  for (const time of findAll('time[data-relative]', within)) {
    const at = Date.parse(time.dateTime)
    const words = relative(at)
    if (time.textContent !== words) time.textContent = words
    time.title = EXACT.format(at)
  }
  for (const time of findAll('time[data-exact]', within)) time.title = EXACT.format(Date.parse(time.dateTime))
}

updateTimes()
setInterval(updateTimes, 15_000)

/* Toasts. */

export function toast(words, isBad = false) {
  const toasts = find('[data-toasts]')
  if (toasts === null) return
  const item = document.createElement('div')
  item.className = isBad ? 'toast bad' : 'toast'
  item.textContent = words
  toasts.append(item)
  setTimeout(() => item.remove(), 5_000)
}

/* Clicks. */

document.addEventListener('click', event => {
  const target = event.target.closest('[data-copy], [data-palette], [data-keys], [data-theme-switch], [data-menu]')
  if (target?.dataset.copy !== undefined) copy(target)
  else if (target?.matches('[data-palette]')) openPalette()
  else if (target?.matches('[data-keys]')) openKeys()
  else if (target?.matches('[data-theme-switch]')) switchTheme(target)
  else if (target?.matches('[data-menu]')) {
    event.preventDefault()
    find('#side').classList.toggle('open')
  }
  for (const menu of findAll('details.menu[open]')) if (!menu.contains(event.target)) menu.open = false
})

async function copy(button) {
  const label = find('span', button)
  const before = label.textContent
  try {
    await navigator.clipboard.writeText(button.dataset.copy)
    label.textContent = 'Copied'
  } catch {
    label.textContent = 'Select it'
  }
  setTimeout(() => (label.textContent = before), 2_000)
}

/* The theme: as the system says, light, dark. */

const THEMES = ['system', 'light', 'dark']

function switchTheme(button) {
  const now = root.dataset.theme ?? 'system'
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]
  const rest = `; Path=/; SameSite=Lax${location.protocol === 'https:' ? '; Secure' : ''}`
  if (next === 'system') delete root.dataset.theme
  else root.dataset.theme = next
  document.cookie = next === 'system' ? `rhone_theme=; Max-Age=0${rest}` : `rhone_theme=${next}; Max-Age=31536000${rest}`
  find('meta[name=color-scheme]').content = next === 'system' ? 'light dark' : next
  find('span', button).textContent = `Theme: ${next}`
}

/* Forms: sent once, confirmed where required, and kept while the user signs in again. */

document.addEventListener('submit', event => {
  const { submitter, target: form } = event
  const question = submitter?.dataset.confirm
  if (question !== undefined && !confirm(question)) return event.preventDefault()
  if (form.method !== 'post') return
  if (form.dataset.sent === 'yes') return event.preventDefault()
  if (isClosed) {
    toast('The platform is closed for maintenance. Nothing was sent.', true)
    return event.preventDefault()
  }
  const others = findAll('form[method=post]').filter(other => other !== form && isChanged(other))
  const isLost = others.some(other => other.dataset.draft === undefined)
  if (isLost && !confirm('Your changes in another part of this page are not saved. Continue without them?')) return event.preventDefault()
  form.dataset.sent = 'yes'
  submitter?.setAttribute('aria-busy', 'true')
  keep(DRAFT, [form])
  keep(OTHERS, others)
})

// A page restored by Back can be sent again.
addEventListener('pageshow', event => {
  if (!event.persisted) return
  for (const form of findAll('form[data-sent]')) delete form.dataset.sent
  for (const button of findAll('[aria-busy]')) button.removeAttribute('aria-busy')
})

document.addEventListener('change', event => {
  if (event.target.matches('[data-submit-on-change]')) event.target.form.requestSubmit()
})

/* Restores a form that was sent after the session had ended, and the other changed forms of a page. */

const DRAFT = 'rhone draft'
const OTHERS = 'rhone others'
const DRAFT_AGE = 600_000
const NEVER_KEPT = ['hidden', 'password', 'submit', 'button', 'file']
const drafts = () => findAll('form[data-draft]')

function isChanged(form) {
  return [...form.elements].some(field => {
    if (!field.name || NEVER_KEPT.includes(field.type)) return false
    if (field.type === 'checkbox' || field.type === 'radio') return field.checked !== field.defaultChecked
    if (field.tagName !== 'SELECT') return field.value !== field.defaultValue
    const chosen = [...field.options].find(option => option.defaultSelected) ?? field.options[0]
    return field.value !== chosen?.value
  })
}

/** Keeps no secrets: no passwords, no hidden fields, and only forms with `data-draft`. */
function keep(name, forms) {
  const kept = forms.flatMap(form => {
    const at = drafts().indexOf(form)
    if (at < 0) return []
    const fields = [...form.elements].filter(field => field.name && !NEVER_KEPT.includes(field.type))
    return [{ at, values: fields.map(field => [field.name, field.value, field.checked]) }]
  })
  if (kept.length > 0) sessionStorage.setItem(name, JSON.stringify({ page: location.pathname, kept, since: Date.now() }))
}

function restore({ page, kept, since }, words) {
  if (page !== location.pathname || Date.now() - since > DRAFT_AGE) return
  for (const { at, values } of kept)
    for (const [name, value, checked] of values)
      for (const field of [...(drafts()[at]?.elements ?? [])].filter(field => field.name === name)) {
        if (field.type !== 'checkbox' && field.type !== 'radio') field.value = value
        else if (field.value === value) field.checked = checked
      }
  if (kept.length > 0) toast(words)
}

function restoreDrafts() {
  const [draft, others] = [DRAFT, OTHERS].map(name => JSON.parse(sessionStorage.getItem(name) ?? 'null'))
  if (draft !== null && location.pathname === '/login') {
    sessionStorage.setItem(DRAFT, JSON.stringify({ ...draft, hasLeft: true }))
    return
  }
  sessionStorage.removeItem(DRAFT)
  sessionStorage.removeItem(OTHERS)
  if (draft?.hasLeft) restore(draft, 'Your input has been restored. It was not sent.')
  if (others !== null) restore(others, 'Your changes in another part are not saved yet.')
}

restoreDrafts()
find('[aria-invalid=true]')?.focus()

/* A confirmation is shown once: a reload does not show it again. */

if (find('[data-done]') !== null) {
  const url = new URL(location)
  url.searchParams.delete('done')
  history.replaceState(history.state, '', url)
}

for (const countdown of findAll('[data-countdown]')) {
  const end = Date.now() + countdown.dataset.countdown * 1000
  const timer = setInterval(() => {
    const left = Math.ceil((end - Date.now()) / 1000)
    countdown.textContent = left > 0 ? `${left} s` : 'a moment'
    if (left <= 0) clearInterval(timer)
  }, 1000)
}

/* The palette. */

const palette = find('[data-palette-dialog]')
let entries = []
let apps

function openPalette() {
  if (palette === null || palette.open) return
  palette.showModal()
  const input = find('input', palette)
  input.value = ''
  showEntries()
  loadApps()
}

/** Loads the apps when they are first needed. */
async function loadApps() {
  if (apps !== undefined) return
  apps = []
  try {
    const response = await fetch('/api/v1/apps?limit=200', { headers: { accept: 'application/json' } })
    if (!response.ok) throw new Error(response.statusText)
    const { items } = await response.json()
    apps = items.flatMap(({ name, slug }) => [
      { label: name, href: `/apps/${slug}`, kind: 'App' },
      { label: `${name}: logs`, href: `/apps/${slug}/logs`, kind: 'Logs' },
      { label: `${name}: settings`, href: `/apps/${slug}/settings`, kind: 'Settings' }
    ])
  } catch {
    apps = undefined
  }
  if (palette.open) showEntries()
}

function pagesToGo() {
  const links = findAll('.side .nav a').map(link => ({
    label: [...link.childNodes].filter(node => node.nodeType === 3).map(node => node.textContent).join('').trim(),
    href: link.getAttribute('href'),
    kind: 'Page'
  }))
  return [...links, { label: 'New app', href: palette.dataset.team ? `/apps/new?team=${palette.dataset.team}` : '/apps/new', kind: 'Action' }]
}

function showEntries() {
  const words = find('input', palette).value.toLowerCase().split(/\s+/).filter(Boolean)
  const list = find('ul', palette)
  const all = [...pagesToGo(), ...(apps ?? []).filter(({ kind }) => words.length > 0 || kind === 'App')]
  entries = all.filter(({ label, kind }) => words.every(word => `${label} ${kind}`.toLowerCase().includes(word))).slice(0, 50)
  list.replaceChildren(
    ...entries.map(({ label, href, kind }, at) => {
      const item = document.createElement('li')
      item.id = `palette-${at}`
      item.role = 'option'
      const link = document.createElement('a')
      link.href = href
      link.tabIndex = -1
      const name = document.createElement('span')
      name.className = 'truncate'
      name.textContent = label
      const what = document.createElement('span')
      what.className = 'kind'
      what.textContent = kind
      link.append(name, what)
      item.append(link)
      return item
    })
  )
  if (entries.length === 0) {
    const nothing = document.createElement('li')
    nothing.className = 'nothing'
    nothing.role = 'option'
    nothing.textContent = 'Nothing is called that.'
    list.append(nothing)
  }
  choose(0)
}

let chosen = 0

function choose(at) {
  const items = findAll('li[id]', palette)
  chosen = items.length === 0 ? 0 : (at + items.length) % items.length
  items.forEach((item, index) => item.setAttribute('aria-selected', String(index === chosen)))
  items[chosen]?.scrollIntoView({ block: 'nearest' })
  find('input', palette).setAttribute('aria-activedescendant', items[chosen]?.id ?? '')
}

palette?.addEventListener('input', showEntries)
palette?.addEventListener('click', event => event.target === palette && palette.close())
palette?.addEventListener('keydown', event => {
  if (event.key === 'ArrowDown') choose(chosen + 1)
  else if (event.key === 'ArrowUp') choose(chosen - 1)
  else if (event.key === 'Enter' && entries[chosen] !== undefined) location.assign(entries[chosen].href)
  else return
  event.preventDefault()
})
for (const hint of findAll('[data-mod-k]')) hint.textContent = isMac ? '⌘ K' : 'Ctrl K'

/* Keyboard shortcuts, but never while the user types. */

const openKeys = () => find('[data-keys-dialog]')?.showModal()
let isGoing = false

document.addEventListener('keydown', event => {
  const { key, target, ctrlKey, metaKey, altKey } = event
  if (key.toLowerCase() === 'k' && (isMac ? metaKey : ctrlKey) && !altKey) {
    event.preventDefault()
    openPalette()
    return
  }
  if (key === 'Escape') {
    const menu = find('details.menu[open]')
    if (menu !== null) {
      menu.open = false
      find('summary', menu).focus()
    }
    return
  }
  if (ctrlKey || metaKey || altKey || event.isComposing || isTyping(target) || find('dialog[open]') !== null) return
  if (isGoing) {
    isGoing = false
    const link = find(`[data-go="${CSS.escape(key)}"]`)
    if (link !== null) location.assign(link.href)
    return
  }
  if (key === 'g') {
    isGoing = true
    setTimeout(() => (isGoing = false), 1_500)
  } else if (key === '/') {
    const field = find('[data-slash], [data-search]')
    if (field === null) openPalette()
    else field.focus()
    event.preventDefault()
  } else if (key === '?') openKeys()
})

function isTyping(target) {
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)
}

/* Live parts: when one of their topics changes, the page is requested again, and these parts are replaced. */

const POLL = 10_000
let isRefreshing = false

async function refresh() {
  const parts = findAll('[data-live]')
  if (parts.length === 0 || isRefreshing || isOut || document.hidden || typeof htmx === 'undefined') return
  // Not while the user types in one of them.
  if (parts.some(part => part.contains(document.activeElement) && isTyping(document.activeElement))) return
  isRefreshing = true
  try {
    for (const part of parts)
      await htmx.ajax('GET', location.pathname + location.search, { target: `#${part.id}`, select: `#${part.id}`, swap: 'outerMorph' })
    updateTimes()
  } finally {
    isRefreshing = false
  }
}

// A queue position also depends on other users' deployments, whose events are not received.
setInterval(() => (isConnected && !isStale && find('[data-poll]') === null) || refresh(), POLL)
let isConnected = false
let soon

/** Several changes cause one refresh. */
function refreshSoon() {
  clearTimeout(soon)
  soon = setTimeout(refresh, 150)
}

function listen() {
  const topics = new Set(findAll('[data-live]').flatMap(part => part.dataset.live.split(' ')))
  const script = find('script[data-app]').dataset.events
  if (topics.size === 0 || typeof SharedWorker === 'undefined') return
  const policy = globalThis.trustedTypes?.createPolicy('rhone', {
    createScriptURL(url) {
      if (url !== script) throw new TypeError('only the events script is allowed')
      return url
    }
  })
  const worker = new SharedWorker(policy?.createScriptURL(script) ?? script)
  worker.port.addEventListener('message', ({ data: { name, data } }) => {
    isConnected = name !== 'lost'
    if (name === 'signed-out') return showSignedOut()
    const isAbout = { deployment: [`deployment:${data.id}`], app: [`app:${data.id}`, `team:${data.teamId}`] }[name]
    if (name === 'maintenance' || name === 'gap' || isAbout?.some(topic => topics.has(topic))) refreshSoon()
  })
  worker.port.start()
  addEventListener('pagehide', () => worker.port.postMessage('bye'))
}

/* When a refresh fails, the content stays, and a banner shows the reason. */

const CLOSED = /<title>Rhone - Maintenance</
/** Milliseconds after which a busy server is asked again, before a banner appears. */
const PAUSE = 3_000
let isStale = false
let isClosed = false

document.addEventListener('htmx:after:request', event => {
  const { status } = event.detail.ctx.response
  if (status < 400) return clearStale()
  event.preventDefault()
  if (status === 401) showSignedOut()
  else if (status >= 500 || status === 429) showStale(CLOSED.test(event.detail.ctx.text))
  // It was deleted, or the user lost access: the error page says which.
  else if (!findAll('form').some(isChanged)) location.reload()
})
document.addEventListener('htmx:error', () => showStale(false))

function showStale(closed) {
  const wasStale = isStale
  isStale = true
  if (!closed && !wasStale) return setTimeout(refresh, PAUSE)
  isClosed = closed
  const words = closed
    ? 'The platform is closed for maintenance. This page shows its last state, and you cannot change anything until it opens again.'
    : 'The server does not answer at the moment. This page may be out of date; it retries every few seconds.'
  const before = find('[data-stale]')
  if (before?.textContent === words) return
  before?.remove()
  const banner = bannerOf('banner', 'status', words)
  banner.dataset.stale = ''
  find('.main')?.prepend(banner)
}

function clearStale() {
  isStale = false
  isClosed = false
  find('[data-stale]')?.remove()
}

function bannerOf(className, role, text) {
  const banner = document.createElement('div')
  banner.className = className
  banner.role = role
  const words = document.createElement('span')
  words.textContent = text
  banner.append(words)
  return banner
}

/** Keeps the page with its input, and links to sign-in. */
function showSignedOut() {
  if (isOut) return
  isOut = true
  clearStale()
  const banner = bannerOf('banner bad', 'alert', 'You have been signed out. ')
  const link = document.createElement('a')
  link.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`
  link.textContent = 'Sign in to continue'
  link.addEventListener('click', () => keep(DRAFT, drafts().filter(isChanged)))
  banner.firstChild.append(link)
  find('.main')?.prepend(banner)
}

let isOut = false
listen()
document.addEventListener('visibilitychange', refresh)

/* Scripts that only some pages need. */

const files = find('script[data-app]').dataset
const viewers = findAll('[data-log]')
if (viewers.length > 0) {
  const { followLog } = await import(files.logFile)
  for (const viewer of viewers) followLog(viewer, refresh)
}
if (find('[data-charts], [data-readings]') !== null) {
  const { drawCharts } = await import(files.chartsFile)
  await drawCharts(files)
}
