import { write, writeSync } from 'node:fs'

/** Maximum size of one write. A pipe takes 64 KiB at a time, and a log shipper reads no more than that either. */
const CHUNK_BYTES = 64 * 1024

/** How long to wait before retrying a full pipe or disk. */
const RETRY_MS = 50
/** The same while the process only waits to flush its last lines. */
const FLUSH_RETRY_MS = 5

/** The reader is slow or the disk is full: possibly temporary. Every other error means that the reader is gone. */
const PASSING: ReadonlySet<string | undefined> = new Set(['EAGAIN', 'EBUSY', 'EINTR', 'ENOSPC'])

export interface LogDestination {
  /** Takes one or more lines and returns immediately. A line for which there is no room is dropped and counted. */
  write(line: string): void
  /**
   * Writes everything taken so far, for a process that is about to exit. A stalled reader delays it by at most
   * `timeoutMs`; a slow one gets every line.
   */
  flushSync(timeoutMs?: number): void
  /** Flushes, and releases the timer and the exit hook. Later lines are written immediately. */
  close(): void
}

export interface LogDestinationOptions {
  /**
   * The target descriptor; stdout by default. A pipe should be non-blocking, or one slow reader blocks a whole thread.
   */
  fd?: number
  /** Maximum backlog for a slow reader; default 4 MiB. */
  maxBytes?: number
  /** How long a line may wait to share a write with others, in milliseconds; default 200. */
  flushInterval?: number
  /** Called with the number of lost lines once there is room again. */
  onRecovery?: (dropped: number) => void
}

interface Chunk {
  readonly bytes: Buffer
  used: number
  written: number
}

/**
 * An asynchronous, bounded destination for log lines. Lines are collected as text, then encoded and written together
 * when they fill a chunk or the interval elapses, whichever comes first; at most one write is in progress. Anything
 * unwritten when the process exits, except by a signal, is flushed then.
 *
 * It replaces `pino.destination({ sync: false })`, which costs three times as much per line and whose `flushSync` never
 * returns once the reader is gone or stalls: a process with a broken log pipe could not exit.
 */
export function openLogDestination({
  fd = process.stdout.fd, // the getter also makes a pipe non-blocking
  maxBytes = 4 * 1024 * 1024,
  flushInterval = 200,
  onRecovery
}: LogDestinationOptions = {}): LogDestination {
  const waiting: Chunk[] = []
  let waitingBytes = 0
  let gathered = ''
  let spare: Chunk | null = null
  let writing: Chunk | null = null
  let isUnderWay = false
  let isOpen = true
  let isBroken = false
  let dropped = 0

  let timer: NodeJS.Timeout | undefined
  const onExit = () => flushSync()

  return {
    write(line) {
      if (isBroken) return
      if (timer === undefined && isOpen) start()
      if (gathered.length + line.length > CHUNK_BYTES && !makeRoom(line)) {
        dropped += Math.max(1, line.split('\n').length - 1)
        return
      }
      gathered += line
      if (!isOpen) flushSync()
    },
    flushSync,
    close() {
      clearInterval(timer)
      process.off('exit', onExit)
      isOpen = false
      flushSync()
    }
  }

  /** A logger that writes nothing, as in most tests, should cost nothing. */
  function start(): void {
    timer = setInterval(writeNext, flushInterval).unref()
    process.on('exit', onExit)
  }

  function makeRoom(line: string): boolean {
    if (waitingBytes + 2 * CHUNK_BYTES + Buffer.byteLength(line) > maxBytes) return false
    if (gathered !== '') {
      const chunk = encodeGathered()
      waiting.push(chunk)
      waitingBytes += chunk.bytes.length
    }
    writeNext()
    return true
  }

  function encodeGathered(): Chunk {
    const bytes = Buffer.byteLength(gathered)
    const chunk = bytes > CHUNK_BYTES ? emptyChunk(bytes) : takeSpare()
    chunk.used = chunk.bytes.write(gathered)
    gathered = ''
    return chunk
  }

  function writeNext(): void {
    if (writing !== null) return
    writing = nextChunk()
    if (writing !== null) writeRest(writing)
  }

  function nextChunk(): Chunk | null {
    const next = waiting.shift()
    if (next !== undefined) {
      waitingBytes -= next.bytes.length
      return next
    }
    return gathered === '' ? null : encodeGathered()
  }

  function writeRest(chunk: Chunk): void {
    if (chunk !== writing) return // flushSync has taken it over
    isUnderWay = true
    write(fd, chunk.bytes, chunk.written, chunk.used - chunk.written, null, (error, bytes) => {
      isUnderWay = false
      chunk.written += bytes ?? 0
      if (error !== null && !PASSING.has(error.code)) giveUp()
      else if (error !== null) setTimeout(writeRest, RETRY_MS, chunk).unref()
      else if (chunk.written < chunk.used) writeRest(chunk)
      else finish(chunk)
    })
  }

  function finish(chunk: Chunk): void {
    writing = null
    recycle(chunk)
    if (dropped > 0) reportLoss()
    if (waiting.length > 0) writeNext()
  }

  function reportLoss(): void {
    const lost = dropped
    dropped = 0
    onRecovery?.(lost)
  }

  /** A write in progress is left to its thread, which the process waits for: its lines may appear after later ones. */
  function flushSync(timeoutMs = 1_000): void {
    let chunk = isUnderWay ? nextChunk() : (writing ?? nextChunk())
    if (!isUnderWay) writing = null
    for (; chunk !== null && !isBroken; chunk = nextChunk()) {
      if (!writeAllSync(fd, chunk, timeoutMs)) giveUp()
      recycle(chunk)
    }
  }

  /** The reader is gone, and there is nowhere to report it. */
  function giveUp(): void {
    isBroken = true
    writing = null
    waiting.length = 0
    waitingBytes = 0
  }

  function takeSpare(): Chunk {
    const chunk = spare ?? emptyChunk()
    spare = null
    return chunk
  }

  function recycle(chunk: Chunk): void {
    if (chunk.bytes.length !== CHUNK_BYTES) return
    chunk.used = 0
    chunk.written = 0
    spare = chunk
  }
}

function emptyChunk(bytes = CHUNK_BYTES): Chunk {
  return { bytes: Buffer.allocUnsafeSlow(bytes), used: 0, written: 0 }
}

/** Whether everything was written, with no more than `timeoutMs` between two partial writes. */
function writeAllSync(fd: number, chunk: Chunk, timeoutMs: number): boolean {
  let deadline = performance.now() + timeoutMs
  while (chunk.written < chunk.used) {
    try {
      chunk.written += writeSync(fd, chunk.bytes, chunk.written, chunk.used - chunk.written)
      deadline = performance.now() + timeoutMs
    } catch (error) {
      if (!PASSING.has((error as NodeJS.ErrnoException).code) || performance.now() > deadline) return false
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FLUSH_RETRY_MS)
    }
  }
  return true
}
