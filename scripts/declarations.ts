import { glob, readFile, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { TObject, TSchema } from '@sinclair/typebox'

/**
 * Completes the declarations in a folder for editors: each plugin option gets its description, limits and default, which the
 * compiler leaves in the JavaScript, and imports refer to existing files.
 */
export async function finishDeclarations(folder: string): Promise<void> {
  const files = await Array.fromAsync(glob('**/*.d.ts', { cwd: folder }))
  const sources = new Map<string, string>()
  for (const file of files) sources.set(file, nameJavaScript(await readFile(join(folder, file), 'utf8')))

  const plain = [...sources].flatMap(([file, source]) => optionsIn(file, source))
  for (const [file, source] of sources) {
    const own = plain.find(options => options.file === file)
    const short = plain.reduce((text, options) => text.replaceAll(options.type, referenceTo(options, file)), source)
    const finished =
      own === undefined ? short : short.replace(`${own.name}: ${referenceTo(own, file)};`, await describe(own, folder))
    await writeFile(join(folder, file), finished)
  }
}

const nameJavaScript = (source: string) => source.replace(/(from |import\()(['"]\.[^'"]*)\.ts(['"])/g, '$1$2.js$3')

/** Where options are declared, and their type as the compiler writes it there and at each plugin that takes them. */
interface Options {
  readonly file: string
  readonly name: string
  readonly type: string
}

const OPTIONS = /^export declare const (\w+Options): (import\("@sinclair\/typebox"\)\.TObject<\{\n[\s\S]*?^\}>);$/m

function optionsIn(file: string, source: string): Options[] {
  const [, name, type] = OPTIONS.exec(source) ?? []
  return name === undefined || type === undefined ? [] : [{ file, name, type }]
}

function referenceTo({ file, name }: Options, from: string): string {
  if (file === from) return `typeof ${name}`
  const path = relative(join(from, '..'), file).replace(/\.d\.ts$/, '.js')
  return `typeof import("${path.startsWith('.') ? path : `./${path}`}").${name}`
}

/** @returns a function, so that `replace` does not interpret a `$` in a description */
async function describe({ file, name, type }: Options, folder: string): Promise<() => string> {
  const module = await import(pathToFileURL(join(folder, file.replace(/\.d\.ts$/, '.js'))).href)
  const lines = `${name}: ${type};`.split('\n').flatMap(describer(module[name]))
  return () => lines.join('\n')
}

const KEY = /^( +)"?(\w+)"?\??: /

/** Adds a comment before each line that declares an option, or a part of one. */
function describer(options: TObject): (line: string) => string[] {
  const path: TSchema[] = [options]
  return line => {
    const [, indent, key] = KEY.exec(line) ?? []
    if (indent === undefined || key === undefined) return [line]
    const depth = indent.length / 4
    const schema: TSchema | undefined = path[depth - 1]?.properties?.[key]
    path.length = depth
    if (schema === undefined) return [line]
    path.push(schema)
    const comment = commentOn(schema)
    return comment === '' ? [line] : [`${indent}/** ${comment} */`, line]
  }
}

function commentOn(schema: TSchema): string {
  const { description, minimum, exclusiveMinimum, maximum } = schema
  const limits = [
    minimum !== undefined && `At least ${minimum}.`,
    exclusiveMinimum !== undefined && `More than ${exclusiveMinimum}.`,
    maximum !== undefined && `At most ${maximum}.`,
    schema.default !== undefined && `Default: ${JSON.stringify(schema.default)}.`
  ]
  const sentences = [description, ...limits].filter(sentence => typeof sentence === 'string')
  return sentences.join(' ').replaceAll('*/', '*\\/')
}
