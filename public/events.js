/* One stream for all tabs: over HTTP/1.1 a browser opens at most six connections to a host, and each tab needs some. */

const ports = new Set()
let source
let closing
let isSignedOut = false
/** Milliseconds before another attempt after a busy server has refused the stream. */
const PAUSE = 15_000

function begin() {
  clearTimeout(closing)
  if (source !== undefined && source.readyState !== EventSource.CLOSED) return
  source = new EventSource('/api/v1/events')
  for (const name of ['deployment', 'app', 'maintenance', 'gap'])
    source.addEventListener(name, ({ data }) => broadcast({ name, data: JSON.parse(data) }))
  source.addEventListener('signed-out', () => {
    isSignedOut = true
    source.close()
    broadcast({ name: 'signed-out', data: {} })
  })
  source.addEventListener('open', () => broadcast({ name: 'gap', data: {} }))
  source.addEventListener('error', () => {
    if (source.readyState !== EventSource.CLOSED) return
    broadcast({ name: 'lost', data: {} })
    setTimeout(() => ports.size > 0 && !isSignedOut && begin(), PAUSE)
  })
}

function broadcast(message) {
  for (const port of ports) port.postMessage(message)
}

addEventListener('connect', ({ ports: [port] }) => {
  ports.add(port)
  port.addEventListener('message', ({ data }) => {
    if (data !== 'bye') return
    ports.delete(port)
    if (ports.size === 0) closing = setTimeout(() => source?.close(), 5_000)
  })
  port.start()
  isSignedOut = false
  begin()
})
