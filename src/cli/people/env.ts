import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { type Client, listAll } from '../client.ts'
import { CommandError, defineCommand, type Input, type Output, UsageError } from '../command.ts'
import { connect } from '../connect.ts'
import { table } from '../format.ts'
import { age } from '../terminal.ts'
import { appOption, chosenApp, pathOf } from './app.ts'

interface EnvVar {
  readonly key: string
  readonly version: number
  readonly buildTime: boolean
  readonly updatedAt: string
}

/** Keys are upper-case and slugs are not, so a lower-case first argument must be an app. */
const KEY = /^[A-Z][A-Z0-9_]*$/
const changing = {
  ...appOption,
  'build-time': { type: 'boolean', description: 'Also set them during builds, not just in the running app.' }
} as const
const APPLIES = 'It takes effect with the next deployment: rhone deploy'

export const envList = defineCommand({
  name: 'env list',
  summary: "List the names of an app's env vars; their values cannot be read.",
  examples: ['rhone env list hello'],
  args: ['[app]'],
  options: appOption,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const app = await chosenApp(input, input.args[0])
    const found = await listAll<EnvVar>(await connect(input), `${pathOf(app)}/env`)
    if (found.length === 0) input.note('There are no env vars yet. Set one with: rhone env set KEY=value')
    return { data: found, text: found.length === 0 ? '' : tableOf(found) }
  }
})

export const envSet = defineCommand({
  name: 'env set',
  summary: 'Set env vars of an app. A value of - is read from standard input.',
  examples: ['rhone env set hello LOG_LEVEL=debug GREETING="Good morning"', 'rhone env set hello API_KEY=- < key.txt'],
  args: ['[app]', '<KEY=value>...'],
  options: changing,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const { app, rest } = await appAndRest(input, text => text.includes('='))
    if (rest.length === 0) throw new UsageError('KEY=value is missing')
    const pairs: [string, string][] = []
    for (const text of rest) {
      const at = text.indexOf('=')
      if (at < 1) throw new UsageError(`"${text}" must have the form KEY=value`)
      pairs.push([requireKey(text.slice(0, at)), text.slice(at + 1)])
    }
    if (pairs.filter(([, value]) => value === '-').length > 1)
      throw new UsageError('only one value can be read from standard input')
    for (const pair of pairs) if (pair[1] === '-') pair[1] = (await input.read()).replace(/\r?\n$/, '')
    return setAll(input, app, pairs)
  }
})

export const envUnset = defineCommand({
  name: 'env unset',
  summary: 'Remove env vars of an app.',
  examples: ['rhone env unset hello API_KEY'],
  args: ['[app]', '<KEY>...'],
  options: appOption,
  forDeployers: true,
  async run(input) {
    const { app, rest } = await appAndRest(input, text => KEY.test(text))
    if (rest.length === 0) throw new UsageError('KEY is missing')
    const client = await connect(input)
    for (const key of rest.map(requireKey)) {
      await client.request('DELETE', `${pathOf(app)}/env/${key}`)
      input.note(`${key} was removed`)
    }
    input.note(APPLIES)
    return undefined
  }
})

export const envImport = defineCommand({
  name: 'env import',
  summary: 'Set env vars from a file of KEY=value lines; others stay unchanged.',
  examples: ['rhone env import hello .env.production', 'rhone env import - < .env'],
  args: ['[app]', '<file>'],
  options: changing,
  printsData: true,
  forDeployers: true,
  async run(input) {
    const file = input.args.at(-1)!
    const app = await chosenApp(input, input.args.length > 1 ? input.args[0] : undefined)
    const text = file === '-' ? await input.read() : await readText(resolve(input.folder, file))
    const pairs = Object.entries(parseEnv(text)).map(([key, value]): [string, string] => [key, value ?? ''])
    if (pairs.length === 0) throw new CommandError(`${file} has no KEY=value line`)
    const wrong = pairs.filter(([key]) => !KEY.test(key)).map(([key]) => key)
    if (wrong.length > 0)
      throw new CommandError(
        `nothing was set: ${wrong.join(', ')} cannot be the name of an env var (use capital letters, digits and underscores)`
      )
    return setAll(input, app, pairs)
  }
})

type EnvInput = Input<typeof changing>

async function setAll(input: EnvInput, app: string, pairs: readonly [string, string][]): Promise<Output> {
  const client = await connect(input)
  const done: EnvVar[] = []
  for (const [key, value] of pairs) {
    try {
      done.push(await setOne(client, app, key, value, input.options['build-time']))
    } catch (error) {
      if (done.length > 0) input.note(`Set so far: ${done.map(item => item.key).join(', ')}`)
      throw error
    }
  }
  input.note(APPLIES)
  return { data: done, text: tableOf(done) }
}

function setOne(client: Client, app: string, key: string, value: string, buildTime = false): Promise<EnvVar> {
  return client.request<EnvVar>('PUT', `${pathOf(app)}/env/${key}`, { value, ...(buildTime && { buildTime }) })
}

/** Separates a leading app from the other arguments. */
async function appAndRest(
  input: Pick<EnvInput, 'args' | 'folder' | 'options'>,
  isRest: (text: string) => boolean
): Promise<{ app: string; rest: readonly string[] }> {
  const [first = '', ...others] = input.args
  const isNamed = input.args.length > 0 && !isRest(first) && !KEY.test(first)
  return { app: await chosenApp(input, isNamed ? first : undefined), rest: isNamed ? others : input.args }
}

function requireKey(key: string): string {
  if (KEY.test(key)) return key
  throw new UsageError(
    `"${key}" cannot be the name of an env var: use capital letters, digits and underscores, a letter first`
  )
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new CommandError(`${path} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

function tableOf(found: readonly EnvVar[]): string {
  const rows = found.map(({ key, version, buildTime, updatedAt }) => [
    key,
    String(version),
    buildTime ? 'build and app' : 'app',
    age(updatedAt)
  ])
  return table(['key', 'version', 'seen by', 'changed'], rows)
}
