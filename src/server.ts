import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createLogger, flushLogger } from '../plugins/logging/logger.ts'
import { type Config, ConfigError, loadConfig, readEnvironment } from './config.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded-postgres/index.ts'
import type { Service } from './instance.ts'
import { developmentKeyrings } from './keyring.ts'

/** From the stop signal to the end of the process at the latest, in milliseconds; below the 30 s that platforms grant. */
const STOP_DEADLINE = 28_000
/** A terminal's Ctrl-C reaches this process twice when npm runs it: once from the terminal, once passed on by npm. */
const SAME_SIGNAL = 500

const config = readConfig()
const logger = createLogger({ level: config.logLevel })
let postgres: EmbeddedPostgres | undefined
let service: Service | undefined
let isListening = false
let stoppingSince: number | undefined
const stopping = new AbortController()

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
process.on('uncaughtException', error => onFault(error, 'uncaught exception'))
process.on('unhandledRejection', error => onFault(error, 'unhandled rejection'))

try {
  await start()
} catch (error) {
  await onFault(error, 'the server could not start')
}

async function start(): Promise<void> {
  const settings = await completeConfig(config)
  const { port, completed } = await serve(settings)
  completed.then(
    () => announce(settings, port),
    error => onFault(error, 'the start has failed')
  )
}

async function serve(settings: Config): Promise<Service> {
  service = settings.workers === 1 ? await oneInstance(settings) : await crewOfWorkers(settings)
  await service.start()
  isListening = true
  return service
}

/* Each brings only what it needs: the primary of a crew serves nothing, and has no use for the whole server in memory. */

async function oneInstance(settings: Config): Promise<Service> {
  const { Instance } = await import('./instance.ts')
  return new Instance(settings, logger)
}

async function crewOfWorkers(settings: Config): Promise<Service> {
  const { Crew } = await import('./workers/crew.ts')
  return new Crew(settings, logger, error => onFault(error, 'no worker is left'))
}

/** What only the process edge can add: keys kept on disk, and a database of our own where none is given. */
async function completeConfig(config: Config): Promise<Config> {
  const { session, encryption, signing } = config.keys
  const own = session && encryption && signing ? undefined : await developmentKeyrings(config.dataDir)
  const keys = {
    session: session ?? own!.session,
    encryption: encryption ?? own!.encryption,
    signing: signing ?? own!.signing
  }
  if (config.database.url !== null || config.swaps.database === false) return { ...config, keys }

  postgres = await startEmbeddedPostgres({
    dataDir: join(config.dataDir, 'postgres'),
    log: logger,
    signal: stopping.signal
  })
  return { ...config, keys, database: { ...config.database, url: postgres.url, directUrl: postgres.url } }
}

/** People read this on stderr; stdout carries nothing but JSON lines. */
function announce(config: Config, port: number): void {
  const host = config.host === '0.0.0.0' || config.host === '::' ? 'localhost' : config.host
  const url = `${config.tls ? 'https' : 'http'}://${host}:${port}`
  logger.info({ url, version: config.version, environment: config.environment }, 'ready')
  const token = join(config.dataDir, 'operator-token')
  process.stderr.write(
    [
      '',
      `  Rhone ${config.version} is ready at ${url}`,
      ...(existsSync(token) ? [`  the operator's token is in ${token}`] : []),
      `  open next: ${url}/docs`,
      '',
      ''
    ].join('\n')
  )
}

function onSignal(signal: NodeJS.Signals): void {
  if (signal === 'SIGHUP' && config.tls !== null) {
    service?.reloadCertificate()
  } else if (stoppingSince === undefined) {
    logger.info({ signal }, 'stopping')
    void stop(0)
  } else if (performance.now() - stoppingSince > SAME_SIGNAL) {
    logger.warn({ signal }, 'second signal, exiting at once')
    exit(1)
  }
}

async function onFault(error: unknown, what: string): Promise<void> {
  logger.fatal({ err: error }, what)
  if (!logger.isLevelEnabled('fatal') || !isListening)
    process.stderr.write(`rhone: ${what}: ${error instanceof Error ? error.message : String(error)}\n`)
  if (stoppingSince === undefined) await stop(error instanceof ConfigError ? ConfigError.exitCode : 1)
  else exit(1)
}

/** Ends in order: drain, close, then the database that all of it stood on. */
async function stop(code: number): Promise<void> {
  stoppingSince = performance.now()
  stopping.abort()
  setTimeout(() => {
    logger.error('the stop took too long, exiting')
    exit(1)
  }, STOP_DEADLINE).unref()

  try {
    await service?.stop()
  } catch (error) {
    logger.error({ err: error }, 'the server did not close cleanly')
    code = 1
  }
  try {
    await postgres?.stop()
  } catch (error) {
    logger.error({ err: error }, 'the embedded PostgreSQL did not stop cleanly')
    code = 1
  }
  logger.info('stopped')
  exit(code)
}

function exit(code: number): never {
  flushLogger(logger)
  process.exit(code)
}

function readConfig(): Config {
  try {
    return loadConfig(readEnvironment())
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`rhone: ${error.message}\n`)
    process.exit(ConfigError.exitCode)
  }
}
