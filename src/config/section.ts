import {
  type Static,
  type TObject,
  type TOptional,
  type TProperties,
  type TSchema,
  type TString,
  Type
} from '@sinclair/typebox'

/** What a section reads its variables with. Problems are collected, so that all of them are reported at once. */
export interface Reader<Env> {
  /** The variables of the section: typed, with their defaults. */
  readonly env: Env
  readonly environment: 'development' | 'staging' | 'production'
  /** True in staging as well: both are protected alike. */
  readonly production: boolean
  /**
   * Parses one variable. A parser that throws has its message reported after the variable's name.
   *
   * @returns null when the variable is unset or wrong
   */
  parse<T>(name: keyof Env & string, parser: (value: string) => T): T | null
  /** Reports a problem; the text begins with the names of the variables that it concerns. */
  refuse(problem: string): void
}

/** The settings of one area: the variables they come from, and how these are read. */
export interface Section<Properties extends TProperties = TProperties, Settings extends object = object> {
  readonly variables: Properties
  /** What it returns is used only if no section has reported a problem. */
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

/** What another service has given out, so that a placeholder in its stead is refused in production. */
export function credential(description: string): TOptional<TString> {
  return Type.Optional(text(description, { credential: true }))
}
