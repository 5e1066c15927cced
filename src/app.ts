import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import Fastify, { type FastifyInstance, type FastifyPluginCallback } from 'fastify'
import type { Logger } from 'pino'
import { createLogger, OneLinePerRequest } from '../plugins/logging/logger.ts'
import { type Config, ConfigError, type SwapSetting } from './config/index.ts'
import { emptyBodies, endEmptyBodies } from './kernel/empty-body.ts'
import { takeOnlyJson } from './kernel/json-body.ts'
import { quickHeads } from './kernel/quick-heads.ts'
import { buildSerializer } from './kernel/serialization.ts'
import { validatorCompiler } from './kernel/validation.ts'
import { type PluginModule, type Slot, slots } from './slots.ts'
import type {} from './wiring/own-types.ts'
import type { Ports } from './wiring/ports.ts'
import { secureContextOf } from './wiring/tls.ts'

/** A replacement for a plugin: nothing, another plugin, or the path of a module whose default export is one. */
export type Swaps = Readonly<Record<string, SwapSetting | PluginModule>>

/**
 * Builds the whole server from its slots. It never listens, exits or reads the environment, so the app under test is
 * the app that ships.
 *
 * @param swaps replaces or omits plugins by slot name; takes precedence over `config.swaps`
 * @throws ConfigError when a swap names an unknown slot or is not a plugin
 * @throws Error when a plugin rejects its options
 */
export async function buildApp(
  config: Config,
  swaps: Swaps = {},
  logger?: Logger,
  ports: Ports = {}
): Promise<FastifyInstance> {
  const replacements: Swaps = { ...config.swaps, ...swaps }
  refuseUnknown(replacements)

  const app = createKernel(config, logger ?? createLogger({ level: config.logLevel }))
  try {
    for (const slot of slots) await plug(app, slot, slot.options(config, app, ports), replacements[slot.name])
    return app
  } catch (error) {
    await app.close()
    throw error
  }
}

/** Fastify with every option that Rhone sets itself; anything a plugin can set is set by that plugin. */
function createKernel(config: Config, logger: Logger): FastifyInstance {
  const http = {
    headersTimeout: 10_000,
    connectionsCheckingInterval: 2_000,
    maxHeaderSize: 16_384,
    requireHostHeader: false,
    ...emptyBodies,
    ...quickHeads(config.shortcuts.has('heads'), logger)
  }
  const app = Fastify({
    // Not `loggerInstance`: with one, Fastify adds two listeners to every reply, for a line that is never written.
    childLoggerFactory: (_none, bindings, options) => logger.child(bindings, options),
    logController: new OneLinePerRequest(),
    ...(config.tls ? { https: { ...http, ...secureContextOf(config.tls), handshakeTimeout: 10_000 } } : { http }),
    requestTimeout: 20_000,
    keepAliveTimeout: 65_000,
    bodyLimit: 1_048_576,
    routerOptions: { maxParamLength: 300 },
    pluginTimeout: 120_000,
    schemaController: { compilersFactory: { buildSerializer } },
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    frameworkErrors(error, request, reply) {
      if (app.errors) app.errors.onFrameworkError(error, request, reply)
      else reply.send(error as never)
    },
    clientErrorHandler(error, socket) {
      if (app.errors) app.errors.onClientError(error, socket)
      else socket.destroy()
    }
  }) as unknown as FastifyInstance
  app.log = logger
  app.setValidatorCompiler(validatorCompiler())
  endEmptyBodies(app)
  takeOnlyJson(app)
  app.server.maxHeadersCount = 100
  return app
}

async function plug(app: FastifyInstance, slot: Slot, options: object | false, swap?: Swaps[string]): Promise<void> {
  if (swap === false || options === false) return
  await app.register((await load(swap ?? slot.plugin)) as FastifyPluginCallback<object>, options)
}

async function load(plugin: string | PluginModule): Promise<PluginModule> {
  if (typeof plugin !== 'string') return plugin
  const path = resolve(plugin)
  try {
    const { default: replacement } = await import(pathToFileURL(path).href)
    if (typeof replacement === 'function') return replacement
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new ConfigError([`RHONE_SWAP: ${(error as Error).message}`])
  }
  throw new ConfigError([`RHONE_SWAP: ${path} does not export a plugin as its default`])
}

function refuseUnknown(replacements: Swaps): void {
  const names = slots.map(slot => slot.name)
  const unknown = Object.keys(replacements).filter(name => !names.includes(name))
  if (unknown.length === 0) return
  throw new ConfigError(
    unknown.map(name => `RHONE_SWAP: there is no slot "${name}"; the slots are ${names.join(', ')}`)
  )
}
