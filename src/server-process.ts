import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isDescriptorShortage } from '../plugins/lib/errno.ts'
import { createLogger, flushLogger } from '../plugins/logging/logger.ts'
import { type Config, ConfigError, openSettings } from './config/index.ts'
import { developmentKeyrings } from './config/keyring.ts'
import { descriptorWarning, keepMemoryReadable, shortageReporter } from './descriptors.ts'
import type { EmbeddedPostgres } from './embedded-postgres/index.ts'
import type { Service } from './instance.ts'
import { localUrl, noteServer, refuseTakenPort } from './listening.ts'
import { prettyLines } from './pretty-lines.ts'
import { firstSignIn } from './wiring/first-sign-in.ts'

/**
 * Maximum time from the stop signal to the end of the process, in milliseconds; below the 30 s that platforms grant.
 */
const STOP_DEADLINE = 28_000
/** Under npm, a terminal's Ctrl-C reaches this process twice: once from the terminal, once forwarded by npm. */
const SAME_SIGNAL = 500

const { config, feed } = await settingsOrExit()
/** JSON for programs, plain text for a terminal. */
const terminal = { write: (lines: string) => void process.stdout.write(prettyLines(lines)) }
const logger = createLogger({ level: config.logLevel, ...(process.stdout.isTTY && { destination: terminal }) })
const reportShortage = shortageReporter((err, count) => logger.error({ err, count }, 'out of file descriptors'))
let postgres: Promise<EmbeddedPostgres> | undefined
let service: Service | undefined
let forgetServer = () => {}
let isStarting = true
let isListening = false
let exitCode = 0
let stoppingSince: number | undefined
const stopping = new AbortController()

// The reader of stderr may close it; that is no reason to exit.
process.stderr.on('error', () => {})
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
process.on('uncaughtException', error => onUncaught(error, 'uncaught exception'))
process.on('unhandledRejection', error => onUncaught(error, 'unhandled rejection'))

keepMemoryReadable()

try {
  await start()
} catch (error) {
  if (!stopping.signal.aborted) onFault(error, 'the server could not start')
}

async function start(): Promise<void> {
  try {
    await refuseTakenPort(config)
    const warning = descriptorWarning(config)
    if (warning !== null) logger.warn(warning)
    const complete = await completeConfig(config)
    service = complete.workers === 1 ? await oneInstance(complete) : await workerPool(complete)
    await service.start(stopping.signal)
    isListening = true
    const { completed, port } = service
    noteWhere(localUrl(complete, port))
    completed.then(
      () => announce(complete, port),
      error => onFault(error, 'the start failed')
    )
  } finally {
    isStarting = false
  }
}

/** DATA_DIR may not be writable: a server with configured keys and database has no other use for it. */
function noteWhere(url: string): void {
  try {
    forgetServer = noteServer(config.dataDir, url)
  } catch (error) {
    logger.debug({ err: error }, 'commands cannot find this server through its DATA_DIR')
  }
}

/*
 * Each branch imports only what it needs: the primary of a pool serves no requests and needs no server code in memory.
 */

async function oneInstance(complete: Config): Promise<Service> {
  const { Instance } = await import('./instance.ts')
  return new Instance(complete, logger, {}, feed)
}

async function workerPool(complete: Config): Promise<Service> {
  // Each worker reads its secrets again by itself.
  await feed.source.close?.()
  const { WorkerPool } = await import('./workers/worker-pool.ts')
  return new WorkerPool(complete, logger, error => onFault(error, 'all workers have ended'))
}

/** What only the process edge can add: keys stored on disk, and an embedded database if none is configured. */
async function completeConfig(config: Config): Promise<Config> {
  const { session, encryption, signing } = config.keys
  const own = session && encryption && signing ? undefined : await developmentKeyrings(config.dataDir)
  const keys = {
    session: session ?? own!.session,
    encryption: encryption ?? own!.encryption,
    signing: signing ?? own!.signing
  }
  if (config.database.url !== null || config.swaps.database === false) return { ...config, keys }

  const options = {
    dataDir: join(config.dataDir, 'postgres'),
    log: logger,
    archive: config.backups.continuous && config.swaps.archive !== false,
    signal: stopping.signal
  }
  if (!existsSync(options.dataDir))
    process.stderr.write(`\n  First start: creating a database in ${options.dataDir}, which takes a few seconds ...\n`)
  postgres = import('./embedded-postgres/index.ts').then(embedded => embedded.startEmbeddedPostgres(options))
  const { url, archive } = await postgres
  return { ...config, keys, database: { ...config.database, url, directUrl: url, archive } }
}

/** For people, on stderr; stdout carries only JSON lines. */
function announce(config: Config, port: number): void {
  const url = localUrl(config, port)
  logger.info({ url, version: config.version, environment: config.environment }, 'ready')
  const token = join(config.dataDir, 'operator-token')
  process.stderr.write(
    [
      '',
      `  Rhone ${config.version} is ready at ${url}`,
      ...(existsSync(token) ? [`  the operator token is in ${token}`] : []),
      `  open next: ${wayIn(config, url)}`,
      '',
      ''
    ].join('\n')
  )
}

/** The next step for a new user: a link that signs in at once, while nothing else is set up. */
function wayIn(config: Config, url: string): string {
  const code = firstSignIn(config)?.create()
  if (code === undefined) return `${url}/login`
  return `${url}/auth/first?code=${code}\n             (signs you in as the operator; works once, on this machine, for 10 minutes)`
}

function onSignal(signal: NodeJS.Signals): void {
  if (signal === 'SIGHUP' && config.tls !== null) {
    service?.reloadCertificate()
  } else if (stoppingSince === undefined) {
    logger.info({ signal }, 'stopping')
    void stop()
  } else if (performance.now() - stoppingSince > SAME_SIGNAL) {
    logger.warn({ signal }, 'second signal, exiting at once')
    exit(1)
  }
}

/** A shortage of descriptors is temporary, and fails only the operation that needed one. */
function onUncaught(error: unknown, what: string): void {
  if (isListening && isDescriptorShortage(error)) reportShortage(error)
  else onFault(error, what)
}

/**
 * A fault stops the process in an orderly way; a second fault during shutdown is reported but does not cut it short.
 */
function onFault(error: unknown, what: string): void {
  exitCode ||= error instanceof ConfigError ? ConfigError.exitCode : 1
  logger.fatal({ err: error }, what)
  if (!isListening || !logger.isLevelEnabled('fatal'))
    process.stderr.write(`rhone: ${what}: ${error instanceof Error ? error.message : String(error)}\n`)
  service?.report?.(error)
  if (stoppingSince === undefined) void stop()
}

/** Shuts down in order: drain, close, then the database underneath. */
async function stop(): Promise<void> {
  stoppingSince = performance.now()
  stopping.abort()
  setTimeout(() => {
    logger.error('the shutdown took too long, exiting')
    exit(1)
  }, STOP_DEADLINE).unref()

  await attempt('the server did not shut down cleanly', closeService)
  await attempt('the embedded PostgreSQL did not stop cleanly', stopPostgres)
  logger.info('stopped')
  exit(exitCode)
}

/** During startup there is no request to finish, and close would wait for a migration that may take minutes. */
async function closeService(): Promise<void> {
  forgetServer()
  if (!isStarting) await service?.stop()
}

/** Startup may still be in progress; aborting ends it and leaves nothing running. */
async function stopPostgres(): Promise<void> {
  const started = await postgres?.catch(() => undefined)
  await started?.stop()
}

async function attempt(complaint: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    logger.error({ err: error }, complaint)
    exitCode ||= 1
  }
}

function exit(code: number): never {
  flushLogger(logger)
  process.exit(code)
}

async function settingsOrExit(): ReturnType<typeof openSettings> {
  try {
    return await openSettings()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`rhone: ${error.message}\n`)
    process.exit(ConfigError.exitCode)
  }
}
