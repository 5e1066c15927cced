import type { Static, TObject } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'

/** What a caller may pass to a plugin: any of its options and deps. */
export type PluginInput<Schema extends TObject, Deps = unknown> = Some<Static<Schema>> & Partial<Deps>

/** Makes keys optional in nested objects, too. Missing required keys are reported when the options are checked. */
type Some<Options> = { [Key in keyof Options]?: Inner<Options[Key]> }
type Inner<Value> = Value extends readonly unknown[] ? Value : Value extends object ? Some<Value> : Value

/**
 * Checks a plugin's options against its schema and fills in the defaults, without touching the caller's object.
 *
 * @param plugin the plugin's name, used in every message
 * @param deps   keys that are not options but functions and instances from the caller; they are ignored here
 * @throws Error that names the plugin, the key and the problem; it fails Fastify's boot
 */
export function parseOptions<Schema extends TObject>(
  plugin: string,
  schema: Schema,
  input: object,
  deps: readonly string[] = []
): Static<Schema> {
  const given = Object.entries(input).filter(([key, value]) => value !== undefined && !deps.includes(key))
  const options = Value.Default(schema, structuredClone(Object.fromEntries(given)))
  const wrong = Value.Errors(schema, options).First()
  if (wrong === undefined) return options as Static<Schema>

  const key = wrong.path.slice(1).replaceAll('/', '.')
  const known = Object.keys(schema.properties).join(', ')
  throw new Error(
    key in schema.properties || key.includes('.')
      ? `${plugin}: option "${key}": ${wrong.message.toLowerCase()}, got ${JSON.stringify(wrong.value)}`
      : `${plugin}: unknown option "${key}"; the options are ${known}`
  )
}
