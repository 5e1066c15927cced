import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'smol-toml'
import packageJson from '../package.json' with { type: 'json' }
import { commands } from '../src/cli/index.ts'
import { type ConfigError, Environment, loadConfig } from '../src/config/index.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (name: string) => readFileSync(join(ROOT, name), 'utf8')

interface Instruction {
  readonly name: string
  readonly value: string
}

/** The instructions of each stage, without comments, each on one line. */
function readStages(): Instruction[][] {
  const lines = read('Dockerfile')
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .filter(Boolean)
  const stages: Instruction[][] = []
  for (const line of lines) {
    const [name = '', ...rest] = line.split(' ')
    if (name === 'FROM') stages.push([])
    ;(stages.at(-1) ?? []).push({ name, value: rest.join(' ') })
  }
  return stages
}

describe('Dockerfile', () => {
  const stages = readStages()
  const last = stages.at(-1)!
  const values = (name: string) => last.filter(instruction => instruction.name === name).map(({ value }) => value)

  it('builds in stages, on the version of Node that development uses', () => {
    assert.equal(stages.length, 3)
    for (const stage of stages) assert.match(stage[0]!.value, /^\$\{NODE_IMAGE\}/)
    const [, image] = /^ARG NODE_IMAGE=(.+)$/m.exec(read('Dockerfile')) ?? []
    assert.equal(image, `node:${packageJson.devDependencies.node}-bookworm-slim`)
  })

  it('installs from the lock file, without development and optional packages, and runs no install scripts', () => {
    const install = stages[0]!.find(({ name }) => name === 'RUN')!.value
    assert.match(install, /^npm ci --omit=dev --omit=optional --ignore-scripts/)
  })

  it('copies only files that exist and that .dockerignore allows', () => {
    const ignore = read('.dockerignore').split('\n')
    assert.equal(
      ignore.find(line => line && !line.startsWith('#')),
      '*'
    )

    const copied = stages.flat().filter(({ name, value }) => name === 'COPY' && !value.startsWith('--from'))
    const sources = copied.flatMap(({ value }) => value.split(' ').slice(0, -1))
    assert.ok(sources.length > 7)
    for (const source of sources) {
      assert.ok(existsSync(join(ROOT, source)), `${source} does not exist`)
      assert.ok(ignore.includes(`!${source}`), `${source} is ignored`)
    }
  })

  it('contains every folder that the server imports from', async () => {
    const copied = values('COPY').map(value => value.split(' ').at(-1)!)
    assert.ok(copied.includes('node_modules'))
    const folders = copied.filter(name => !['node_modules', '.', './'].includes(name))
    for await (const file of glob(
      folders.map(folder => `${folder}/**/*.ts`),
      { cwd: ROOT }
    ))
      for (const [, specifier] of read(file).matchAll(/(?:from|import\() ?'(\.[^']+)'/g)) {
        const [folder] = relative(ROOT, join(ROOT, dirname(file), specifier!)).split('/')
        assert.ok(folder === 'package.json' || folders.includes(folder!), `${file} imports ${specifier}`)
      }
  })

  it('runs the server in production mode as an unprivileged user', () => {
    assert.deepEqual(values('USER'), ['node'])
    assert.match(values('ENV')[0]!, /^ENVIRONMENT=production /)
    const command: string[] = JSON.parse(values('CMD')[0]!)
    assert.match(values('ENV')[0]!, / NODE_COMPILE_CACHE=\.cache /)
    assert.equal(`NODE_COMPILE_CACHE=.cache exec ${command.join(' ')}`, JSON.parse(read('package.json')).scripts.start)
    assert.ok(existsSync(join(ROOT, command.at(-1)!)))
  })

  it('compiles the bundle in advance with the options of the server, which are part of where Node keeps compiled code', () => {
    const command: string[] = JSON.parse(values('CMD')[0]!)
    const compiling = stages[1]!.filter(({ name }) => name === 'RUN').at(-1)!.value
    assert.ok(
      compiling.includes(`NODE_COMPILE_CACHE=.cache timeout --preserve-status 10 ${command.join(' ')} && chmod`)
    )
  })

  it('has the bundle and all that it was made of from the same stage, so that their times agree', () => {
    const made = stages[1]!.filter(({ name, value }) => name === 'COPY' && !value.startsWith('scripts/'))
    const folders = made.map(({ value }) => value.split(' ').at(-1)!).filter(name => name !== './')
    const copied = values('COPY').filter(value => value.startsWith('--from=bundle '))
    for (const folder of [...folders, '.cache'])
      assert.ok(copied.includes(`--from=bundle /app/${folder} ${folder}`), folder)
    assert.ok(copied[0]!.includes('/app/package-lock.json'))
  })

  it('keeps its data in a volume', () => {
    const [volume] = values('VOLUME')
    assert.match(values('ENV')[0]!, new RegExp(`DATA_DIR=${volume}(\\s|$)`))
    assert.match(values('RUN')[0]!, new RegExp(`^install -d -o node .*${volume}$`))
  })

  it('checks the container through /health', () => {
    const [check] = values('HEALTHCHECK')
    assert.match(check!, /CMD \["node", .*\/health/)
  })
})

describe('the first npm ci', () => {
  const { allowScripts, devDependencies } = JSON.parse(read('package.json'))

  it('prints no warnings: every install script is decided, and the installed Node is the one that runs', () => {
    const packages: Record<string, { hasInstallScript?: boolean }> = JSON.parse(read('package-lock.json')).packages
    const scripted = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript)
    const undecided = scripted
      .map(([path]) => path.split('node_modules/').at(-1)!)
      .filter(name => !['fsevents'].includes(name) && typeof allowScripts[name] !== 'boolean')
    assert.deepEqual(undecided, [])
    assert.equal(allowScripts.node, true)
    assert.match(devDependencies.node, /^\d+\.\d+\.\d+$/)
    assert.match(read('.npmrc'), /^loglevel=error$/m)
  })
})

describe('.env.example', () => {
  const lines = [...read('.env.example').matchAll(/^# ([A-Z_]+)=(.*)$/gm)]
  const example = Object.fromEntries(lines.map(([, name, value]) => [name!, value]))

  it('changes nothing when copied unchanged', () => {
    assert.doesNotMatch(read('.env.example'), /^[^#\n]/m)
  })

  it('is accepted in development, except for placeholders and file names', () => {
    const filled = Object.entries(example).filter(([name, value]) => value !== 'CHANGEME' && !name.endsWith('_FILE'))
    assert.equal(loadConfig(Object.fromEntries(filled)).environment, 'development')
  })

  it('is refused in production, naming every placeholder', () => {
    const placeholders = Object.keys(example).filter(name => /CHANGEME/.test(example[name]!) && name !== 'RHONE_TOKEN')
    assert.ok(placeholders.length >= 7)
    assert.throws(
      () => loadConfig({ ...example, ENVIRONMENT: 'production' }),
      (error: ConfigError) => {
        for (const name of placeholders) assert.match(error.message, new RegExp(`^ *${name}: `, 'm'))
        return true
      }
    )
  })
})

describe('fly.toml', () => {
  const fly = parse(read('fly.toml')) as unknown as Fly

  it('names the app and its region', () => {
    assert.equal(fly.app, 'rhone')
    assert.equal(fly.primary_region, 'iad')
    assert.ok(existsSync(join(ROOT, fly.build.dockerfile)))
  })

  it('allows the server more time to stop than its maximum', () => {
    assert.equal(fly.kill_signal, 'SIGTERM')
    assert.equal(fly.kill_timeout, 30)
    const [, deadline] = /STOP_DEADLINE = ([\d_]+)/.exec(read('src/server-process.ts')) ?? []
    assert.ok(Number(deadline?.replaceAll('_', '')) < fly.kill_timeout * 1000)
  })

  it('migrates before a release, with an existing command', () => {
    const [, script, ...words] = fly.deploy.release_command.split(' ')
    assert.ok(existsSync(join(ROOT, script!)))
    assert.ok(commands.some(({ name }) => name === words.join(' ')))
  })

  it('forces HTTPS and keeps two machines up', () => {
    assert.equal(fly.http_service.force_https, true)
    assert.equal(fly.http_service.auto_stop_machines, 'off')
    assert.ok(fly.http_service.min_machines_running >= 2)
    assert.ok(fly.http_service.concurrency.soft_limit < fly.http_service.concurrency.hard_limit)
  })

  it('checks liveness and readiness on the port that the server listens on', () => {
    assert.deepEqual(fly.http_service.checks.map(({ path }) => path).sort(), ['/health', '/ready'])
    assert.equal(String(fly.http_service.internal_port), fly.env.PORT)
  })

  it('configures no scraper that would be refused', () => {
    assert.equal(fly.metrics, undefined)
  })

  it('sets only variables that the server reads, and no secrets', () => {
    assert.equal(fly.env.ENVIRONMENT, 'production')
    assert.equal(fly.env.TRUST_PROXY, 'fly')
    const secret = /_KEYS|TOKEN|SECRET|DATABASE_|REDIS_/
    for (const name of Object.keys(fly.env)) {
      assert.ok(name in Environment.properties, name)
      assert.doesNotMatch(name, secret)
    }
  })
})

interface Fly {
  readonly app: string
  readonly primary_region: string
  readonly kill_signal: string
  readonly kill_timeout: number
  readonly build: { readonly dockerfile: string }
  readonly deploy: { readonly release_command: string }
  readonly env: Readonly<Record<string, string>>
  readonly metrics?: object
  readonly http_service: {
    readonly internal_port: number
    readonly force_https: boolean
    readonly auto_stop_machines: string
    readonly min_machines_running: number
    readonly concurrency: { readonly soft_limit: number; readonly hard_limit: number }
    readonly checks: readonly { readonly path: string }[]
  }
}
