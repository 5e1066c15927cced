/* What pages can do beyond links and forms. Every page works without this file. */

const root = document.documentElement
root.classList.add('scripted')
const isMac = /mac/i.test(navigator.userAgentData?.platform ?? navigator.platform)
const find = (selector, within = document) => within.querySelector(selector)
const findAll = (selector, within = document) => [...within.querySelectorAll(selector)]

/* Times: their age goes on, and the exact one is in the reader's own zone. */

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

function tellTimes(within = document) {
  for (const time of findAll('time[data-relative]', within)) {
    const at = Date.parse(time.dateTime)
    const words = relative(at)
    if (time.textContent !== words) time.textContent = words
    time.title = EXACT.format(at)
  }
  for (const time of findAll('time[data-exact]', within)) time.title = EXACT.format(Date.parse(time.dateTime))
}

tellTimes()
setInterval(tellTimes, 15_000)

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

/* Forms: sent once, with a last question where that is asked for, and kept while somebody signs in again. */

document.addEventListener('submit', event => {
  const { submitter, target: form } = event
  const question = submitter?.dataset.confirm
  if (question !== undefined && !confirm(question)) return event.preventDefault()
  if (form.method !== 'post') return
  if (form.dataset.sent === 'yes') return event.preventDefault()
  form.dataset.sent = 'yes'
  submitter?.setAttribute('aria-busy', 'true')
  keepDraft(form)
})

// A page that comes back by Back can be sent again.
addEventListener('pageshow', event => {
  if (!event.persisted) return
  for (const form of findAll('form[data-sent]')) delete form.dataset.sent
  for (const button of findAll('[aria-busy]')) button.removeAttribute('aria-busy')
})

document.addEventListener('change', event => {
  if (event.target.matches('[data-submit-on-change]')) event.target.form.requestSubmit()
})

const DRAFT = 'rhone draft'
const DRAFT_AGE = 600_000

/** Nothing that is secret: no passwords, no hidden fields, and no form that says so. */
function keepDraft(form) {
  if (form.dataset.draft === undefined) return
  const fields = [...form.elements].filter(
    ({ name, type }) => name && !['hidden', 'password', 'submit', 'button', 'file'].includes(type)
  )
  const values = fields.map(field => [field.name, field.value, field.checked])
  const draft = { page: location.pathname, action: form.getAttribute('action'), values, at: Date.now() }
  sessionStorage.setItem(DRAFT, JSON.stringify(draft))
}

function restoreDraft() {
  const draft = JSON.parse(sessionStorage.getItem(DRAFT) ?? 'null')
  if (draft === null) return
  if (location.pathname === '/login') {
    sessionStorage.setItem(DRAFT, JSON.stringify({ ...draft, hasLeft: true }))
    return
  }
  sessionStorage.removeItem(DRAFT)
  if (!draft.hasLeft || draft.page !== location.pathname || Date.now() - draft.at > DRAFT_AGE) return
  const form = findAll('form[data-draft]').find(candidate => candidate.getAttribute('action') === draft.action)
  if (form === undefined) return
  for (const [name, value, checked] of draft.values)
    for (const field of [...form.elements].filter(field => field.name === name)) {
      if (field.type !== 'checkbox' && field.type !== 'radio') field.value = value
      else if (field.value === value) field.checked = checked
    }
  toast('What you had typed is still here. It was not sent.')
}

restoreDraft()
find('[aria-invalid=true]')?.focus()

/* What was just done is said once: a reload does not say it again. */

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

/** Apps are read when they are first needed. */
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

/* Keys, but never while somebody types. */

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

/* Live parts: when something they are about changes, the page is asked for again, and these parts are taken over. */

const POLL = 10_000
let isRefreshing = false

async function refresh() {
  const parts = findAll('[data-live]')
  if (parts.length === 0 || isRefreshing || document.hidden || typeof htmx === 'undefined') return
  // Not under the hands of somebody who uses a menu or types in it.
  if (parts.some(part => part.contains(document.activeElement) && isTyping(document.activeElement))) return
  isRefreshing = true
  try {
    for (const part of parts)
      await htmx.ajax('GET', location.pathname + location.search, { target: `#${part.id}`, select: `#${part.id}`, swap: 'outerMorph' })
    tellTimes()
  } finally {
    isRefreshing = false
  }
}

setInterval(() => isHearing || refresh(), POLL)
let isHearing = false
let soon

/** Several changes at once are one look. */
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
      if (url !== script) throw new TypeError('only the script of events')
      return url
    }
  })
  const worker = new SharedWorker(policy?.createScriptURL(script) ?? script)
  worker.port.addEventListener('message', ({ data: { name, data } }) => {
    isHearing = name !== 'lost'
    const isAbout = { deployment: [`deployment:${data.id}`], app: [`app:${data.id}`, `team:${data.teamId}`] }[name]
    if (name === 'maintenance' || name === 'gap' || isAbout?.some(topic => topics.has(topic))) refreshSoon()
  })
  worker.port.start()
  addEventListener('pagehide', () => worker.port.postMessage('bye'))
}

listen()
document.addEventListener('visibilitychange', refresh)

/* Logs: what comes is added below, and followed until somebody scrolls up. */

const MOST_LINES = 100_000
const BLOCK = 500

for (const viewer of findAll('[data-log]')) followLog(viewer)

function followLog(viewer) {
  const lines = find('.lines', viewer)
  const state = find('[data-state]', viewer)
  const followButton = find('[data-follow]', viewer)
  let count = findAll('.line', lines).length
  let isFollowing = followButton !== null
  let unseen = 0
  let last
  let rest = ''
  let source

  const isAtEnd = () => lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40
  const toEnd = () => (lines.scrollTop = lines.scrollHeight)
  const tell = words => (state.textContent = words)

  function setFollowing(on) {
    isFollowing = on
    followButton?.setAttribute('aria-pressed', String(on))
    if (!on) return
    unseen = 0
    toEnd()
  }

  /** Text only: whatever a program prints stays text. */
  function lineOf(id, text, at, level) {
    const line = document.createElement('div')
    line.className = `line ${level}`
    line.id = `L${id}`
    const link = document.createElement('a')
    link.href = `#L${id}`
    link.textContent = at === undefined ? id : at.slice(11, 19)
    if (at !== undefined) link.title = at
    const words = document.createElement('span')
    words.textContent = text || ' '
    line.append(link, words)
    if (query !== '') mark(line)
    return line
  }

  function add(items) {
    if (items.length === 0) return
    for (const item of items) {
      let block = lines.lastElementChild
      if (block === null || !block.matches('.block') || block.childElementCount >= BLOCK) {
        block = document.createElement('div')
        block.className = 'block'
        lines.append(block)
      }
      block.append(item)
      count++
    }
    while (count > MOST_LINES && lines.childElementCount > 1) {
      count -= lines.firstElementChild.childElementCount
      lines.firstElementChild.remove()
      tell('The oldest lines were left out here; the download has them.')
    }
    if (isFollowing) toEnd()
    else {
      unseen += items.length
      tell(`${unseen} new ${unseen === 1 ? 'line' : 'lines'} below`)
    }
  }

  let wasAt = lines.scrollTop
  lines.addEventListener('scroll', () => {
    if (followButton !== null && lines.scrollTop < wasAt - 2 && !isAtEnd()) setFollowing(false)
    else if (followButton !== null && !isFollowing && isAtEnd()) setFollowing(true)
    wasAt = lines.scrollTop
  })
  followButton?.addEventListener('click', () => setFollowing(!isFollowing))
  find('[data-wrap]', viewer)?.addEventListener('click', ({ currentTarget }) => {
    const on = lines.classList.toggle('wrap')
    currentTarget.setAttribute('aria-pressed', String(on))
  })

  /* Search in the lines that are here. */
  let query = ''
  const field = find('[data-search]', viewer)
  const mark = line => line.classList.toggle('hit', query !== '' && line.lastElementChild.textContent.toLowerCase().includes(query))
  field?.addEventListener('input', () => {
    query = field.value.toLowerCase()
    const all = findAll('.line', lines)
    all.forEach(mark)
    const hits = all.filter(line => line.classList.contains('hit'))
    find('[data-found]', viewer).textContent = query === '' ? '' : hits.length === 1 ? '1 line' : `${hits.length} lines`
    if (hits.length > 0) {
      setFollowing(false)
      hits[0].scrollIntoView({ block: 'center' })
    }
  })

  /* The stream ends while nobody looks, and goes on after the last line that was seen. */
  const url = viewer.dataset.stream
  if (url === undefined) return

  function begin() {
    if (source !== undefined) return
    const from = new URL(url, location)
    if (last !== undefined) from.searchParams.set('after', last)
    source = new EventSource(from)
    source.addEventListener('open', () => tell(count === 0 ? 'Connected. Waiting for the first line.' : 'Live'))
    source.addEventListener('log', ({ data, lastEventId }) => {
      const item = JSON.parse(data)
      last = lastEventId || last
      if (item.message !== undefined) return add([lineOf(item.id, item.message, item.timestamp, item.source === 'system' ? 'system' : item.level)])
      const parts = (rest + item.text).split('\n')
      rest = parts.pop()
      add(parts.map((part, at) => lineOf(count + at + 1, part, undefined, 'info')))
    })
    source.addEventListener('dropped', ({ data }) => {
      const gap = document.createElement('div')
      gap.className = 'gap'
      gap.textContent = `${JSON.parse(data).count} lines were left out: they came too fast.`
      lines.append(gap)
    })
    source.addEventListener('status', () => refresh())
    source.addEventListener('complete', () => {
      if (rest !== '') add([lineOf(count + 1, rest, undefined, 'info')])
      rest = ''
      end()
      tell('Complete')
      refresh()
    })
    source.addEventListener('disconnected', () => tell('The server restarts. Reconnecting …'))
    source.addEventListener('error', () => {
      if (source?.readyState === EventSource.CLOSED) {
        end()
        tell('Not connected: you may be signed out, or have too many logs open. Load the page again.')
      } else tell('Reconnecting …')
    })
  }

  function end() {
    source?.close()
    source = undefined
  }

  let hiding
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hiding)
    if (document.hidden) hiding = setTimeout(end, 30_000)
    else if (state.textContent !== 'Complete') begin()
  })
  begin()
  if (location.hash === '' && isFollowing) toEnd()
  else if (location.hash !== '') setFollowing(false)
}
