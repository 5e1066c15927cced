import type { Config, Variables } from '../config/index.ts'

/** One row of the command table. A new command is a file with one of these, and its name in `index.ts`. */
export interface Command<Set extends OptionSet = OptionSet> {
  /** What is typed: `serve`, `token create`. */
  readonly name: string
  readonly summary: string
  /** Whole command lines for the help; its bare name when absent. */
  readonly examples?: readonly string[]
  /** In order, as the help shows them. All are required. */
  readonly args?: readonly string[]
  readonly options?: Set
  /** Whether it prints data, and so takes `--json`. */
  readonly printsData?: boolean
  run(input: Input<Set>): Promise<Output | undefined>
}

export interface Option {
  readonly type: 'string' | 'boolean'
  readonly multiple?: boolean
  /** What stands for the value in the help. */
  readonly value?: string
  readonly description: string
}
export type OptionSet = Readonly<Record<string, Option>>

export interface Input<Set extends OptionSet = OptionSet> {
  readonly args: readonly string[]
  readonly options: Values<Set>
  /**
   * The configuration, read when a command first asks: some need none.
   *
   * @throws ConfigError
   */
  readonly config: () => Promise<Config>
  /** The variables that the configuration is read from. */
  readonly variables: () => Variables | Promise<Variables>
  /** Prints data that is too long to be held as one; resolves when there is room for more. */
  readonly write: (text: string) => Promise<void>
  /** Tells the person at the terminal something that is not data. */
  readonly note: (text: string) => void
}

type Values<Set extends OptionSet> = {
  readonly [Name in keyof Set]?: Set[Name]['type'] extends 'boolean'
    ? boolean
    : Set[Name]['multiple'] extends true
      ? string[]
      : string
}

/** What goes to stdout: `data` with `--json`, `text` without. */
export interface Output {
  readonly data: unknown
  readonly text: string
  /** The command did its work, and what it found is bad: exit code 1. */
  readonly failed?: boolean
}

export function defineCommand<const Set extends OptionSet>(command: Command<Set>): Command {
  return command
}

/** It was asked in a way that the command does not understand: exit code 2, with the usage. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** It could not be done, for a reason that the message tells in full: exit code 1, without a stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}
