/* One stream for all tabs of a browser: over HTTP/1.1 a browser has six connections to a host, and each tab needs some. */

const ports = new Set()
let source
let closing
let isOut = false
/** Milliseconds after which a server that has refused the stream, because it was busy, is asked again. */
const PAUSE = 15_000

function begin() {
  clearTimeout(closing)
  if (source !== undefined && source.readyState !== EventSource.CLOSED) return
  source = new EventSource('/api/v1/events')
  for (const name of ['deployment', 'app', 'maintenance', 'gap'])
    source.addEventListener(name, ({ data }) => tell({ name, data: JSON.parse(data) }))
  source.addEventListener('signed-out', () => {
    isOut = true
    source.close()
    tell({ name: 'signed-out', data: {} })
  })
  source.addEventListener('open', () => tell({ name: 'gap', data: {} }))
  source.addEventListener('error', () => {
    if (source.readyState !== EventSource.CLOSED) return
    tell({ name: 'lost', data: {} })
    setTimeout(() => ports.size > 0 && !isOut && begin(), PAUSE)
  })
}

function tell(message) {
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
  isOut = false
  begin()
})
