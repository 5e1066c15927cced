import {
  type Static,
  type TObject,
  type TOptional,
  type TProperties,
  type TSchema,
  type TString,
  Type
} from '@sinclair/typebox'

/** Reads a section's variables. Problems are collected so that all of them can be reported at once. */
export interface Reader<Env> {
  /** The section's variables: typed, with defaults applied. */
  readonly env: Env
  readonly environment: 'development' | 'staging' | 'production'
  /** Also true in staging: both are protected alike. */
  readonly production: boolean
  /**
   * Parses one variable. If the parser throws, its message is reported after the variable's name.
   *
   * @returns null when the variable is unset or invalid
   */
  parse<T>(name: keyof Env & string, parser: (value: string) => T): T | null
  /** Reports a problem. The text begins with the names of the variables involved. */
  refuse(problem: string): void
}

/** The settings of one area: its variables, and how to read them. */
export interface Section<Properties extends TProperties = TProperties, Settings extends object = object> {
  readonly variables: Properties
  /** Its result is used only if no section has reported a problem. */
  readonly read: (reader: Reader<Static<TObject<Properties>>>) => Settings
}

export function section<const Properties extends TProperties, Settings extends object>(
  variables: Properties,
  read: (reader: Reader<Static<TObject<Properties>>>) => Settings
): Section<Properties, Settings> {
  return { variables, read }
}

export function text(description: string, options: object = {}): TString {
  return Type.String({ minLength: 1, description, ...options })
}

export function optional<Schema extends TSchema>(schema: Schema) {
  return Type.Optional(schema)
}

export function oneOf<const Values extends readonly string[]>(values: Values, options: object) {
  return Type.Union(
    values.map(value => Type.Literal(value as Values[number])),
    options
  )
}

/** Properties of a secret that matter for its rotation. */
export interface SecretTraits {
  /** Maximum age in days. */
  readonly days: number
  /**
   * The secret part of the variable. `url`: its password; `list`: each entry, newest first; `keyring`: each key, newest
   * first.
   */
  readonly form: 'token' | 'list' | 'url' | 'keyring'
  /** Whether it opens the secret source itself, and so cannot be stored there. */
  readonly opensSource: boolean
  /** Whether a running server keeps the value that it started with. */
  readonly needsRestart: boolean
  /** Whether an instance may have its own in its environment, beside a source of secrets, if there is no password in it. */
  readonly staysLocal: boolean
}

/** A secret: production rejects placeholders, `SECRETS_SOURCE` may supply it, and its age is monitored. */
export function credential(description: string, traits: Partial<SecretTraits> = {}): TOptional<TString> {
  const secret: SecretTraits = {
    days: 90,
    form: 'token',
    opensSource: false,
    needsRestart: false,
    staysLocal: false,
    ...traits
  }
  return Type.Optional(text(description, { credential: true, secret }))
}

/** A name issued by another service. Not a secret, but production rejects placeholders. */
export function identifier(description: string): TOptional<TString> {
  return Type.Optional(text(description, { credential: true }))
}
