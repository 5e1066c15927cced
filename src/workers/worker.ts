/** One of several apps of a process, on its own thread. The primary (`worker-pool.ts`) controls it by messages. */
import { parentPort, workerData } from 'node:worker_threads'
import { isDescriptorShortage } from '../../plugins/lib/errno.ts'
import { createLogger } from '../../plugins/logging/logger.ts'
import type { MetricsPeers } from '../../plugins/metrics/index.ts'
import { openFeed, readEnvironment } from '../config/index.ts'
import { keepMemoryReadable, shortageReporter } from '../descriptors.ts'
import { Instance } from '../instance.ts'
import { relayLines } from './line-relay.ts'
import { type Order, type Report, receiveConfig, sendFault, type WorkerData } from './messages.ts'

/** Milliseconds; the primary itself does not wait that long for a worker. */
const EXCHANGE_TIMEOUT = 3_000

const port = parentPort!
const { config, buckets } = workerData as WorkerData
const report = (message: Report) => port.postMessage(message)

const lines = relayLines(text => report({ type: 'log', lines: text }))
const logger = createLogger({ level: config.logLevel, destination: lines })
let readOwn = async () => ''
let waiting = Promise.withResolvers<readonly string[]>()
let isStopping = false

const peers: MetricsPeers = {
  serve(read) {
    readOwn = read
  },
  exchange(text) {
    waiting = Promise.withResolvers()
    setTimeout(waiting.resolve, EXCHANGE_TIMEOUT, []).unref()
    report({ type: 'collect', text })
    return waiting.promise
  }
}
const reportShortage = shortageReporter((err, count) => logger.error({ err, count }, 'out of file descriptors'))
let instance: Instance | undefined
let isListening = false

keepMemoryReadable()
process.on('uncaughtException', error => onUncaught(error, 'uncaught exception'))
process.on('unhandledRejection', error => onUncaught(error, 'unhandled rejection'))
port.on('message', onOrder)

try {
  // Not read yet: a replacement worker must start even while the source is unreachable.
  const feed = await openFeed(readEnvironment())
  instance = new Instance(receiveConfig(config), logger, { buckets, peers }, feed)
  await instance.start(undefined, true)
  isListening = true
  report({ type: 'listening' })
  instance.completed.then(
    () => report({ type: 'ready' }),
    error => onFault(error, 'the start failed')
  )
} catch (error) {
  onFault(error, 'the worker could not start')
}

function onOrder(order: Order): void {
  if (order.type === 'stop') stop()
  else if (order.type === 'reload') instance?.reloadCertificate()
  else if (order.type === 'ping') report({ type: 'pong' })
  else if (order.type === 'peers') waiting.resolve(order.texts)
  else readOwn().then(text => report({ type: 'reading', text }), onUnreadable)
}

function onUnreadable(error: unknown): void {
  logger.warn({ err: error }, 'the metrics of a worker could not be read')
}

/** A shortage of descriptors is temporary, and fails only the operation that needed one. */
function onUncaught(error: unknown, what: string): void {
  if (isListening && isDescriptorShortage(error)) reportShortage(error)
  else onFault(error, what)
}

/** The primary starts a successor at once; requests in flight here still finish. */
function onFault(error: unknown, what: string): void {
  logger.fatal({ err: error }, what)
  report({ type: 'fault', fault: sendFault(error) })
  instance?.report(error)
  stop()
}

function stop(): void {
  if (isStopping) return
  isStopping = true
  Promise.resolve(instance?.stop()).then(
    () => end(),
    error => end(error)
  )
}

async function end(failure?: unknown): Promise<void> {
  const text = await readOwn().catch(() => '')
  lines.close()
  report({ type: 'stopped', text, ...(failure !== undefined && { failure: sendFault(failure) }) })
}
