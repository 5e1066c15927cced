import { dirname, resolve } from 'node:path'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type PluginInput, parseOptions } from '../../plugins/lib/options.ts'
import { createBuildkitBuilder } from './buildkit.ts'
import { createImageBuilder } from './image.ts'
import { createLocalBuilder } from './local.ts'
import type { BuildContext, Builder, BuildRequest } from './port.ts'
import { requirePublicHost } from './public-address.ts'
import type { Limits } from './sandbox.ts'
import { removeLeftovers } from './workspace.ts'

export type { ArchiveSource, BuildContext, Builder, BuildPhase, BuildRequest, BuildSource, BuiltImage } from './port.ts'
export { BuildError } from './port.ts'

const count = (value: number, description: string) => Type.Integer({ default: value, minimum: 1, description })

export const BuilderOptions = Type.Object(
  {
    kind: Type.Union([Type.Literal('local'), Type.Literal('buildkit'), Type.Literal('image')], {
      default: 'image',
      description:
        'How apps are built: local, on this machine for this machine; buildkit, by a buildkitd into a registry; image, not at all.'
    }),
    dataDir: Type.String({
      default: '.rhone',
      description:
        'Directory for builds, and for images of kind local. If this process is root, other users must be able to enter it.'
    }),
    limits: Type.Object(
      {
        seconds: count(1_200, 'Timeout of a build in seconds.'),
        outputKb: count(4_096, 'Kilobytes of output that are kept.'),
        memoryMb: count(2_048, 'Megabytes of memory for all its processes on this machine.'),
        diskMb: count(4_096, 'Megabytes of disk space on this machine.'),
        spareMb: count(512, 'Megabytes of disk space that must stay free.'),
        processes: count(1_024, 'Processes and threads on this machine.'),
        graceMs: count(2_000, 'Milliseconds between SIGTERM and SIGKILL for its processes.')
      },
      { additionalProperties: false, default: {}, description: 'Limits of one build.' }
    ),
    packageCacheMb: Type.Integer({
      default: 1_024,
      minimum: 0,
      description:
        'Megabytes of downloaded packages that kind local caches for all apps, and the same for installed ones; each app may use a quarter. 0: no cache.'
    }),
    buildkit: Type.Optional(
      Type.Object(
        {
          host: Type.String({ pattern: '^tcp://[^/]+:\\d+$' }),
          caFile: Type.String(),
          certFile: Type.String(),
          keyFile: Type.String(),
          frontend: Type.String({ default: 'ghcr.io/railwayapp/railpack-frontend' })
        },
        {
          additionalProperties: false,
          description: 'For kind buildkit: the buildkitd, its TLS files, and the railpack frontend.'
        }
      )
    ),
    imageRegistry: Type.Optional(
      Type.Object(
        { host: Type.String({ pattern: '^[\\w.:/-]+$' }), token: Type.String({ minLength: 1 }) },
        {
          additionalProperties: false,
          description: 'For kind buildkit: the registry to push images to, as user x with this token.'
        }
      )
    ),
    programs: Type.Object(
      {
        git: Type.String({ default: 'git' }),
        npm: Type.String({ default: 'npm' }),
        railpack: Type.String({ default: 'railpack' }),
        buildctl: Type.String({ default: 'buildctl' })
      },
      { additionalProperties: false, default: {}, description: 'The programs for builds: names or paths.' }
    ),
    path: Type.Optional(
      Type.String({
        description: 'The search path for programs. Default: the directory of Node, then the system directories.'
      })
    ),
    allowLocal: Type.Boolean({
      default: false,
      description: 'Also clone from http: and file: URLs and from private networks; for development.'
    }),
    trustedHosts: Type.Array(Type.String(), {
      default: ['github.com'],
      description: 'Hosts with ports that may be cloned from even if they are not on the public Internet.'
    })
  },
  { additionalProperties: false }
)
export type BuilderOptions = Static<typeof BuilderOptions>

export interface BuilderDeps {
  /** The current registry token, in place of the option, if it can change while the server runs. */
  latestRegistryToken?: () => string
  /** Resolves a host named by an app's owner. @throws Error when it is not on the public Internet */
  addressesOf?: (hostname: string) => Promise<readonly string[]>
}

declare module 'fastify' {
  interface FastifyInstance {
    builder: Builder
  }
}

const SYSTEM_PATH = '/opt/homebrew/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Builds images from commits. Closing the app ends running builds; those of a crashed process are cleaned up. */
const builder: FastifyPluginAsync<PluginInput<typeof BuilderOptions, BuilderDeps>> = async (app, input) => {
  const given = parseOptions('rhone-builder', BuilderOptions, input, ['addressesOf', 'latestRegistryToken'])
  const options = { ...given, dataDir: resolve(given.dataDir) }
  const closing = new AbortController()
  const running = new Set<Promise<unknown>>()

  function track<T>(work: Promise<T>): Promise<T> {
    running.add(work)
    const forget = () => void running.delete(work)
    work.then(forget, forget)
    return work
  }

  const adapter = createBuilder(options, input)
  app.decorate('builder', {
    ...adapter,
    build(request: BuildRequest, context: BuildContext) {
      const signal = AbortSignal.any([context.signal, closing.signal])
      return track(adapter.build(request, { ...boundContext(context), signal }))
    }
  })

  app.addHook('onReady', async () => {
    if (options.kind === 'image') return
    track(removeLeftovers(options.dataDir)).catch(error => {
      app.log.error({ err: error }, 'leftovers of builds could not be removed')
    })
  })
  app.addHook('onClose', async () => {
    closing.abort(new Error('the server is closing'))
    await Promise.allSettled(running)
  })
}

function boundContext(context: BuildContext): Omit<BuildContext, 'signal'> {
  return {
    enter: phase => context.enter(phase),
    say: text => context.say(text),
    note: line => context.note(line),
    hide: secret => context.hide(secret)
  }
}

function createBuilder(options: BuilderOptions, deps: BuilderDeps): Builder {
  const { addressesOf = requirePublicHost, latestRegistryToken } = deps
  const { kind, dataDir, programs, allowLocal, trustedHosts, buildkit, imageRegistry } = options
  const path = options.path ?? `${dirname(process.execPath)}:${SYSTEM_PATH}`
  const common = {
    dataDir,
    limits: limitsOf(options.limits),
    path,
    clone: { git: programs.git, path, allowLocal, trustedHosts, addressesOf }
  }
  switch (kind) {
    case 'image':
      return createImageBuilder()
    case 'local':
      return createLocalBuilder({ ...common, npm: programs.npm, packageCache: options.packageCacheMb * 1_048_576 })
    case 'buildkit':
      if (buildkit === undefined || imageRegistry === undefined)
        throw new Error('rhone-builder: kind "buildkit" needs the options "buildkit" and "imageRegistry"')
      return createBuildkitBuilder({
        ...common,
        server: buildkit,
        registry: { host: imageRegistry.host, token: latestRegistryToken ?? imageRegistry.token },
        programs
      })
  }
}

function limitsOf(limits: BuilderOptions['limits']): Limits {
  return {
    seconds: limits.seconds,
    output: limits.outputKb * 1_024,
    memory: limits.memoryMb * 1_048_576,
    disk: limits.diskMb * 1_048_576,
    spare: limits.spareMb * 1_048_576,
    processes: limits.processes,
    grace: limits.graceMs
  }
}

export default fp(builder, { name: 'rhone-builder', fastify: '5.x' })
