import { parseArgs } from 'node:util'
import { nearest } from '../../plugins/lib/nearest.ts'
import { ConfigError, Environment, openSettings, readConfig, type Variables } from '../config/index.ts'
import { explain } from '../kernel/explain.ts'
import { type Command, CommandError, type Input, type Output, UsageError } from './command.ts'
import { helpOf, overview, usageOf } from './help.ts'
import { commands } from './index.ts'
import { PLAIN, type Terminal } from './terminal.ts'

export interface CliStreams {
  /** For data only. Resolves when there is room for more. */
  readonly stdout: (text: string) => void | Promise<void>
  /** For messages: notes and errors. */
  readonly stderr: (text: string) => void
  /** @param forDeployers a `.env` in the working folder is not Rhone's */
  readonly environment: (forDeployers: boolean) => Variables | Promise<Variables>
  /** Default: the folder of the process. */
  readonly folder?: string
  /** Default: none. */
  readonly terminal?: Terminal
  /** Default: empty. */
  readonly read?: () => Promise<string>
  /** Default: no interruption. */
  readonly interruption?: () => AbortSignal
}

/** The variables that deployers' commands read. Other variables may be meant for their app. */
const READ_FOR_DEPLOYERS = [
  ...['RHONE_URL', 'RHONE_URL_FILE', 'RHONE_TOKEN', 'RHONE_TOKEN_FILE', 'DATA_DIR', 'HOST', 'PORT'],
  ...['HOME', 'XDG_CONFIG_HOME', 'BROWSER']
]

const EXIT = { done: 0, failed: 1, usage: 2, config: ConfigError.exitCode } as const

const COMMON_OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  json: { type: 'boolean' },
  url: { type: 'string' },
  token: { type: 'string' }
} as const

/** Runs one command line. @returns the exit code */
export async function main(args: readonly string[], io: CliStreams): Promise<number> {
  const [first = 'help'] = args
  if (first === '--version') {
    io.stdout(`${Environment.properties.RHONE_VERSION.default}\n`)
    return EXIT.done
  }
  const command = find(args) ?? listOf(args)
  if (command === undefined) return orient(args, io)

  const words = command.name.split(' ').filter((word, at) => word === args[at]).length
  try {
    return await run(command, args.slice(words), io)
  } catch (error) {
    return report(error, command, io)
  }
}

function find(args: readonly string[]): Command | undefined {
  const typed = [args.slice(0, 2).join(' '), args[0]]
  return commands.find(command => typed.includes(command.name))
}

/** What a bare group name means to people who deploy: the group's list, as in `rhone apps`. */
function listOf([first, second = '-', ...others]: readonly string[]): Command | undefined {
  if (!second.startsWith('-') || [second, ...others].some(word => word === '--help' || word === '-h')) return undefined
  const names = [`${first} list`, `${first} show`]
  return commands.find(({ name, forDeployers }) => forDeployers && names.includes(name))
}

/** Handles a missing command: correct if help was requested, otherwise an error. */
function orient(args: readonly string[], io: CliStreams): number {
  const words = args.filter(arg => !['help', '--help', '-h'].includes(arg))
  const asked = words.length < args.length || args.length === 0
  const named = find(words)
  if (asked && named !== undefined) {
    io.stdout(helpOf(named))
    return EXIT.done
  }
  const group = commands.filter(command => command.name.startsWith(`${words[0]} `))
  if (asked && (words.length === 0 || group.length > 0)) {
    io.stdout(overview(group.length > 0 ? group : commands))
    return EXIT.done
  }
  const typed = words.slice(0, 2).join(' ')
  const meant = nearest(typed, commandNames()) ?? nearest(words[0] ?? '', commandNames())
  if (group.length === 0 && meant !== undefined)
    io.stderr(
      `rhone: unknown command "${typed}"; did you mean "${meant}"?\n\nusage: rhone <command> [options]\nrhone help lists all commands.\n`
    )
  else io.stderr(`rhone: unknown command "${typed}"\n\n${overview(group.length > 0 ? group : commands)}`)
  return EXIT.usage
}

/** The names of commands and of command groups. */
function commandNames(): string[] {
  return commands.flatMap(({ name }) => [name, name.split(' ')[0]!])
}

async function run(command: Command, args: readonly string[], io: CliStreams): Promise<number> {
  const { values, positionals } = parse(command, args)
  if (values.help) {
    io.stdout(helpOf(command))
    return EXIT.done
  }
  checkArgs(command, positionals)

  const environment = async () => withServer(await environmentOf(command, io), values)
  const input: Input = {
    args: positionals,
    options: values as Input['options'],
    json: values.json === true,
    config: () => readConfig(environment),
    settings: () => openSettings(environment),
    variables: environment,
    folder: io.folder ?? process.cwd(),
    terminal: io.terminal ?? PLAIN,
    write: async text => io.stdout(text),
    note: text => io.stderr(`${text}\n`),
    read: io.read ?? (async () => ''),
    interruption: io.interruption ?? (() => new AbortController().signal)
  }
  const output = await command.run(input)
  if (output !== undefined) io.stdout(render(output, values.json === true))
  return output?.exitCode ?? (output?.failed ? EXIT.failed : EXIT.done)
}

async function environmentOf({ forDeployers = false }: Command, io: CliStreams): Promise<Variables> {
  const variables = await io.environment(forDeployers)
  if (!forDeployers) return variables
  return Object.fromEntries(READ_FOR_DEPLOYERS.map(name => [name, variables[name]]))
}

function parse(command: Command, args: readonly string[]) {
  const { json, ...common } = COMMON_OPTIONS
  const options = { ...common, ...command.options, ...(command.printsData && { json }) }
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    throw new UsageError(explainOption(error as NodeJS.ErrnoException, Object.keys(options)))
  }
}

/** Replaces the messages of parseArgs, which address programmers. */
function explainOption({ code, message }: NodeJS.ErrnoException, known: readonly string[]): string {
  const [, option = ''] = /'(--?[^\s',=]+)/.exec(message) ?? []
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
    const meant = nearest(option.replace(/^-+/, ''), known)
    return `unknown option ${option}${meant === undefined ? '' : `; did you mean --${meant}?`}`
  }
  return /does not take an argument/.test(message) ? `${option} takes no value` : `${option} needs a value`
}

/** `--url` and `--token` take precedence over the environment. */
function withServer(variables: Variables, { url, token }: { url?: unknown; token?: unknown }): Variables {
  return {
    ...variables,
    ...(typeof url === 'string' && { RHONE_URL: url }),
    ...(typeof token === 'string' && { RHONE_TOKEN: token, RHONE_TOKEN_FILE: undefined })
  }
}

function checkArgs({ args = [] }: Command, given: readonly string[]): void {
  const required = args.filter(name => name.startsWith('<'))
  const missing = required[given.length]
  if (missing !== undefined) throw new UsageError(`${missing.replace('...', '')} is missing`)
  if (given.length > args.length && args.at(-1)?.endsWith('...') !== true)
    throw new UsageError(`"${given[args.length]}" is an unexpected argument`)
}

function render({ data, text }: Output, json: boolean): string {
  const rendered = json ? JSON.stringify(data, null, 2) : text
  return rendered === '' ? '' : `${rendered}\n`
}

function report(error: unknown, command: Command, io: CliStreams): number {
  if (error instanceof UsageError) {
    io.stderr(`rhone: ${error.message}\n\n${usageOf(command)}\nrhone ${command.name} --help lists its options.\n`)
    return EXIT.usage
  }
  if (error instanceof CommandError || error instanceof ConfigError) {
    io.stderr(`rhone: ${error.message}\n`)
    return error instanceof ConfigError ? EXIT.config : EXIT.failed
  }
  io.stderr(`rhone: ${isBug(error) ? error.stack : explain(error)}\n`)
  return EXIT.failed
}

/** A programming error of our own, the only kind whose stack is of interest. */
function isBug(error: unknown): error is Error {
  return error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError
}
