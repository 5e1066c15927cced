/* Logs: new lines are appended, and followed until the user scrolls up. All output of a program is shown as text. */

const MOST_LINES = 100_000
const BLOCK = 500
/** Maximum lines added per frame, so that the page stays responsive. */
const AT_ONCE = 2_000
/** Milliseconds before the first retry of a refused stream, doubled each time, and the maximum number of retries. */
const FIRST_PAUSE = 2_000
const MOST_REFUSALS = 5
/** Milliseconds for which a tab may be hidden before its stream ends. */
const HIDDEN = 30_000

const find = (selector, within) => within.querySelector(selector)
const findAll = (selector, within) => [...within.querySelectorAll(selector)]

/* Terminal colours become classes. All other control sequences are removed. */

const SEQUENCES = /\u001b(?:\[([0-?]*)[ -/]*([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|[@-Z\\-_])/g
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g
const STYLES = { 1: 'a-bold', 2: 'a-dim', 3: 'a-italic', 4: 'a-underline' }
const ENDS = { 22: ['a-bold', 'a-dim'], 23: ['a-italic'], 24: ['a-underline'] }

/** The parts of a text, each with its classes. */
export function coloured(text) {
  const parts = []
  let styles = new Set()
  let colour = ''
  let from = 0
  const take = end => {
    const words = text.slice(from, end).replaceAll(CONTROLS, '')
    if (words !== '') parts.push({ words, classes: [...styles, colour].filter(Boolean).join(' ') })
  }
  for (const found of text.matchAll(SEQUENCES)) {
    take(found.index)
    from = found.index + found[0].length
    if (found[2] !== 'm') continue
    const codes = (found[1] || '0').split(';').map(Number)
    for (let at = 0; at < codes.length; at++) {
      const code = codes[at]
      if (code === 0) {
        styles = new Set()
        colour = ''
      } else if (STYLES[code]) styles.add(STYLES[code])
      else if (ENDS[code]) for (const ended of ENDS[code]) styles.delete(ended)
      else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) colour = `a-${code}`
      else if (code === 39) colour = ''
      else if (code === 38 || code === 48) {
        // Only the first sixteen colours of a palette have a class; the others are shown as plain text.
        const index = codes[at + 2]
        if (code === 38 && codes[at + 1] === 5 && index < 16) colour = `a-${index < 8 ? 30 + index : 82 + index}`
        at += codes[at + 1] === 5 ? 2 : 4
      }
    }
  }
  take(text.length)
  return parts
}

/** Fills an element with coloured text. */
function write(element, text) {
  if (!text.includes('\u001b')) {
    element.textContent = text.replaceAll(CONTROLS, '') || ' '
    return
  }
  element.replaceChildren(
    ...coloured(text).map(({ words, classes }) => {
      if (classes === '') return words
      const part = document.createElement('span')
      part.className = classes
      part.textContent = words
      return part
    })
  )
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const ZONE = 'rhone log zone'

export function followLog(viewer, refresh) {
  const lines = find('.lines', viewer)
  const words = find('[data-words]', viewer)
  const jump = find('[data-jump]', viewer)
  const followButton = find('[data-follow]', viewer)
  const zoneButton = find('[data-zone]', viewer)
  const { stream, context } = viewer.dataset
  let count = findAll('.line', lines).length
  let isFollowing = followButton !== null
  let isOver = false
  let refusals = 0
  let unseen = 0
  let last
  let rest = ''
  let source
  let isLocal = localStorage.getItem(ZONE) === 'local'

  const isAtEnd = () => lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40
  const toEnd = () => (lines.scrollTop = lines.scrollHeight)
  const showState = text => (words.textContent = text)
  const timeOf = at => (isLocal ? clock.format(new Date(at)) : at.slice(11, 19))

  for (const line of findAll('[data-raw]', lines)) write(line.lastElementChild, line.dataset.raw)

  function setFollowing(on) {
    isFollowing = on
    followButton?.setAttribute('aria-pressed', String(on))
    if (!on) return
    unseen = 0
    jump.hidden = true
    toEnd()
  }

  function lineOf(id, text, at, level) {
    const line = document.createElement('div')
    line.className = `line ${level}`
    line.id = `L${id}`
    const link = document.createElement('a')
    link.href = `#L${id}`
    if (at === undefined) link.textContent = id
    else {
      link.title = at
      link.textContent = timeOf(at)
    }
    const said = document.createElement('span')
    write(said, text)
    line.append(link, said)
    if (query !== '') mark(line)
    return line
  }

  /* New lines are added once per frame: a burst is drawn once, and never blocks the page. */
  let waiting = []
  let isDue = false

  function add(items) {
    for (const item of items) waiting.push(item)
    if (isDue || waiting.length === 0) return
    isDue = true
    // A hidden page has no frames.
    if (document.hidden) setTimeout(draw, 100)
    else requestAnimationFrame(draw)
  }

  function draw() {
    isDue = false
    const now = waiting.splice(0, AT_ONCE)
    let block = lines.lastElementChild
    let room = block === null ? 0 : BLOCK - block.childElementCount
    for (let at = 0; at < now.length; ) {
      if (room <= 0) {
        block = document.createElement('div')
        block.className = 'block'
        room = BLOCK
      }
      const some = now.slice(at, at + room).map(make => make())
      block.append(...some)
      if (block.parentNode === null) lines.append(block)
      room -= some.length
      at += some.length
    }
    count += now.length
    while (count > MOST_LINES && lines.childElementCount > 1) {
      count -= lines.firstElementChild.childElementCount
      lines.firstElementChild.remove()
      find('[data-cut]', viewer).hidden = false
    }
    if (isFollowing) toEnd()
    else if (followButton !== null) {
      unseen += now.length
      jump.hidden = false
      jump.textContent = unseen === 1 ? '1 new line' : `${unseen} new lines`
    }
    add([])
  }

  let wasAt = lines.scrollTop
  lines.addEventListener('scroll', () => {
    const { scrollTop } = lines
    if (followButton !== null && isFollowing && scrollTop < wasAt - 2 && !isAtEnd()) setFollowing(false)
    else if (followButton !== null && !isFollowing && scrollTop > wasAt && isAtEnd()) setFollowing(true)
    wasAt = scrollTop
  })
  followButton?.addEventListener('click', () => setFollowing(!isFollowing))
  jump.addEventListener('click', () => setFollowing(true))
  find('[data-wrap]', viewer)?.addEventListener('click', ({ currentTarget }) => {
    currentTarget.setAttribute('aria-pressed', String(lines.classList.toggle('wrap')))
  })

  /* Times: in UTC, as sent by the server, or in the user's time zone. */
  function updateZone() {
    for (const link of findAll('.line > a[title]', lines)) link.textContent = timeOf(link.title)
    if (zoneButton !== null) zoneButton.textContent = isLocal ? 'Local time' : 'UTC'
  }
  zoneButton?.addEventListener('click', () => {
    isLocal = !isLocal
    localStorage.setItem(ZONE, isLocal ? 'local' : 'utc')
    updateZone()
  })
  if (isLocal) updateZone()

  /* Search in the loaded lines. */
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

  /* A link to a line scrolls to it and marks it. */
  function showLinked() {
    const [, id] = /^#L(\d+)$/.exec(location.hash) ?? []
    for (const line of findAll('.linked', lines)) line.classList.remove('linked')
    if (id === undefined) return
    const line = find(`#L${id}`, lines)
    if (line !== null) {
      setFollowing(false)
      line.classList.add('linked')
      line.scrollIntoView({ block: 'center' })
      return
    }
    const first = find('.line', lines)
    const isBefore = first !== null && Number(id) < Number(first.id.slice(1))
    if (!isBefore) return
    // The page of older lines that ends shortly after it.
    if (context !== undefined && !new URLSearchParams(location.search).has('cursor'))
      location.replace(`${context}?cursor=${Number(id) + 51}#L${id}`)
    else showState(context === undefined ? `Line ${id} is in the download.` : `Line ${id} is no longer kept.`)
  }
  addEventListener('hashchange', showLinked)

  if (isFollowing && location.hash === '') toEnd()
  showLinked()
  if (stream === undefined) return

  /* The stream ends while the page is hidden, and resumes after the last received line. */
  function begin() {
    if (source !== undefined || isOver) return
    const from = new URL(stream, location)
    if (last !== undefined) from.searchParams.set('after', last)
    source = new EventSource(from)
    source.addEventListener('open', () => {
      refusals = 0
      showState(count + waiting.length === 0 ? 'Connected. Waiting for the first line.' : 'Connected')
    })
    source.addEventListener('log', ({ data, lastEventId }) => {
      const item = JSON.parse(data)
      last = lastEventId || last
      if (item.message !== undefined) {
        const level = item.source === 'system' && item.level === 'info' ? 'system' : item.level
        add([() => lineOf(item.id, item.message, item.timestamp, level)])
        return
      }
      const parts = (rest + item.text).split('\n')
      rest = parts.pop()
      add(parts.map(part => numbered(part)))
    })
    source.addEventListener('dropped', ({ data }) => gap(`${JSON.parse(data).count} lines were left out: there were too many to show.`))
    source.addEventListener('status', () => refresh())
    source.addEventListener('complete', () => {
      if (rest !== '') add([numbered(rest)])
      rest = ''
      isOver = true
      end()
      showState('Complete')
      refresh()
    })
    source.addEventListener('disconnected', () => showState('The server restarts. Reconnecting …'))
    source.addEventListener('error', () => {
      if (source?.readyState === EventSource.CLOSED) {
        end()
        if (refusals++ < MOST_REFUSALS) {
          showState('The server is busy. Trying again …')
          setTimeout(() => document.hidden || begin(), FIRST_PAUSE * 2 ** refusals)
        } else showState('Not connected: you may be signed out, or have too many logs open. Reload the page.')
      } else showState('Reconnecting …')
    })
  }

  /** The lines of a build have only a number as their id. */
  let number = Number(find('.block:last-of-type > .line:last-of-type', lines)?.id.slice(1) ?? 0)
  const numbered = text => () => lineOf(++number, text, undefined, 'info')

  function gap(text) {
    add([
      () => {
        const item = document.createElement('div')
        item.className = 'gap'
        item.textContent = text
        return item
      }
    ])
  }

  function end() {
    source?.close()
    source = undefined
  }

  let hiding
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hiding)
    if (!document.hidden) return begin()
    hiding = setTimeout(() => {
      end()
      showState('Paused while this page is hidden.')
    }, HIDDEN)
  })
  begin()
}
