import type { Config, SecretFeed, Variables } from '../config/index.ts'
import type { Terminal } from './terminal.ts'

/** One row of the command table. To add a command, write a file with one of these and list it in `index.ts`. */
export interface Command<Set extends OptionSet = OptionSet> {
  /** The words typed: `serve`, `token create`. */
  readonly name: string
  readonly summary: string
  /** Complete command lines for the help; default: the bare name. */
  readonly examples?: readonly string[]
  /**
   * In the order of the help: `<name>` is required, `[name]` is optional, and a last one that ends in `...` takes any
   * number.
   */
  readonly args?: readonly string[]
  readonly options?: Set
  /** Whether it prints data, and so accepts `--json`. */
  readonly printsData?: boolean
  /**
   * A command for people who deploy, in folders of their own: a `.env` there belongs to their app and does not
   * configure Rhone.
   */
  readonly forDeployers?: boolean
  run(input: Input<Set>): Promise<Output | undefined>
}

export interface Option {
  readonly type: 'string' | 'boolean'
  readonly multiple?: boolean
  /** One letter, for `-f`. */
  readonly short?: string
  /** The placeholder for the value in the help. */
  readonly value?: string
  readonly description: string
}
export type OptionSet = Readonly<Record<string, Option>>

export interface Input<Set extends OptionSet = OptionSet> {
  readonly args: readonly string[]
  readonly options: Values<Set>
  /** `--json` was given. */
  readonly json: boolean
  /**
   * The configuration, read on first use: some commands need none.
   *
   * @throws ConfigError
   */
  readonly config: () => Promise<Config>
  /** The configuration, and the feed from which its secrets can be read again and stored. @throws ConfigError */
  readonly settings: () => Promise<{ config: Config; feed: SecretFeed }>
  /** The variables that the configuration is read from. */
  readonly variables: () => Variables | Promise<Variables>
  /** The user's current folder. */
  readonly folder: string
  readonly terminal: Terminal
  /** Prints data too long to hold in memory, piece by piece; resolves when there is room for more. */
  readonly write: (text: string) => Promise<void>
  /** Prints a message for the user that is not data. */
  readonly note: (text: string) => void
  /** All of standard input, as text. */
  readonly read: () => Promise<string>
  /** Aborted by the first Ctrl-C after this call; the second one ends the process. */
  readonly interruption: () => AbortSignal
}

type Values<Set extends OptionSet> = {
  readonly [Name in keyof Set]?: Set[Name]['type'] extends 'boolean'
    ? boolean
    : Set[Name]['multiple'] extends true
      ? string[]
      : string
}

/** Output for stdout: `data` with `--json`, `text` without. */
export interface Output {
  readonly data: unknown
  readonly text: string
  /** The command worked but found a problem: exit code 1. */
  readonly failed?: boolean
  /** An exit code specific to the command, documented in its summary. */
  readonly exitCode?: number
}

export function defineCommand<const Set extends OptionSet>(command: Command<Set>): Command {
  return command
}

/** The command line is invalid: exit code 2, with the usage. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The command failed for a reason that the message fully explains: exit code 1, without a stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}
