import { anchorOf, ERROR_CODES, statusOf, titleOf } from '../lib/errors.ts'
import { type Html, html, NO_ICON } from '../lib/html.ts'
import type { Content, OpenApiDocument, Operation, Reference, Response, Schema } from './document.ts'

/** How deep the properties of properties are listed. */
const MAX_DEPTH = 6

interface Entry {
  method: string
  path: string
  operation: Operation
}

/** The API for people: one page without a script, made once. */
export function docsPage(document: OpenApiDocument): string {
  const { info } = document
  const groups = Object.entries(Object.groupBy(entriesOf(document), ({ operation }) => operation.tags?.[0] ?? 'other'))
  groups.sort(([one], [other]) => one.localeCompare(other, 'en'))

  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${info.title} API</title>
${NO_ICON}
<link rel="stylesheet" href="/docs/style.css">
</head>
<body>
<nav aria-label="Contents">
<a class="brand" href="#top">${info.title}</a>
${groups.map(([tag, entries = []]) => contents(tag, entries))}
<h2><a href="#errors">Errors</a></h2>
</nav>
<main id="top">
<header>
<h1>${info.title} API <small>${info.version}</small></h1>
${info.description && html`<p>${info.description}</p>`}
<p>Send a token as <code>Authorization: Bearer …</code>. The same as data:
<a href="/openapi.json">openapi.json</a>, OpenAPI 3.1.</p>
</header>
${groups.map(([tag, entries = []]) => html`<section><h2 id="${tagId(tag)}">${tag}</h2>${entries.map(entry => section(entry, document))}</section>`)}
${errorsSection()}
</main>
</body>
</html>
`.toString()
}

function entriesOf({ paths }: OpenApiDocument): Entry[] {
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation }))
  )
}

const tagId = (tag: string): string => `tag-${tag.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}`
const operationAnchor = ({ operationId }: Operation): string => `operation-${operationId}`

function contents(tag: string, entries: readonly Entry[]): Html {
  return html`<h2><a href="#${tagId(tag)}">${tag}</a></h2>
<ul>${entries.map(
    ({ method, path, operation }) =>
      html`<li><a href="#${operationAnchor(operation)}">${badge(method)}<span>${operation.summary ?? path}</span></a></li>`
  )}</ul>
`
}

function badge(method: string): Html {
  return html`<b class="method ${method.toLowerCase()}">${method}</b>`
}

function section({ method, path, operation }: Entry, document: OpenApiDocument): Html {
  const { summary, description, parameters = [], requestBody, responses, deprecated } = operation
  return html`<article id="${operationAnchor(operation)}">
<h3>${badge(method)} <code>${path}</code>${deprecated && html` <em>deprecated</em>`}</h3>
${summary && html`<p class="summary">${summary}</p>`}
${description && html`<p>${prose(description)}</p>`}
${parameters.length > 0 && html`<h4>Parameters</h4>${table(parameters.map(({ name, in: place, required, description: words, schema }) => row(name, schema, required === true, `in ${place}`, words)))}`}
${requestBody && html`<h4>Body</h4>${shape(schemaOf(requestBody.content), document)}`}
<h4>Replies</h4>
${Object.entries(responses).map(([status, response]) => responseOf(status, response, document))}
</article>
`
}

function responseOf(status: string, response: Response | Reference, document: OpenApiDocument): Html | undefined {
  if ('$ref' in response) return undefined // the shared error, said once for all operations
  const schema = response.content && schemaOf(response.content)
  const summary = html`<b>${status}</b> ${response.description}`
  if (schema === undefined) return html`<p class="response">${summary}</p>`
  return html`<details class="response"><summary>${summary}</summary>${shape(schema, document)}</details>`
}

function schemaOf(content: Content): Schema | undefined {
  return Object.values(content)[0]?.schema
}

function shape(schema: Schema | undefined, document: OpenApiDocument): Html {
  if (schema === undefined) return html``
  const rows = rowsOf(schema, document, '', 0)
  return rows.length > 0 ? table(rows) : html`<p><code>${typeOf(schema)}</code> ${limitsOf(schema)}</p>`
}

/** A row for every property, of nested objects too: `owner.name`, `items[].id`. */
function rowsOf(given: Schema, document: OpenApiDocument, prefix: string, depth: number): Html[] {
  const schema = resolve(given, document)
  if (depth > MAX_DEPTH) return []
  if (schema.items !== undefined) return rowsOf(schema.items, document, `${prefix}[]`, depth + 1)
  return Object.entries(schema.properties ?? {}).flatMap(([key, value]) => {
    const name = prefix === '' ? key : `${prefix}.${key}`
    const property = resolve(value, document)
    const required = schema.required?.includes(key) === true
    return [
      row(name, property, required, undefined, property.description),
      ...rowsOf(property, document, name, depth + 1)
    ]
  })
}

function resolve(schema: Schema, { components }: OpenApiDocument): Schema {
  const name = schema.$ref?.split('/').at(-1)
  return (name !== undefined && components.schemas?.[name]) || schema
}

function table(rows: readonly Html[]): Html {
  return html`<div class="scroll"><table><tbody>${rows}</tbody></table></div>`
}

function row(name: string, schema: Schema, required: boolean, place?: string, description?: string): Html {
  const facts = [place, required ? 'required' : 'optional', limitsOf(schema)].filter(Boolean).join(', ')
  return html`<tr><th scope="row"><code>${name}</code></th><td><code>${typeOf(schema)}</code> <small>${facts}</small>${
    description && html`<br>${prose(description)}`
  }</td></tr>
`
}

function typeOf({ type, format, items, enum: values, const: constant, anyOf, oneOf, $ref }: Schema): string {
  if (constant !== undefined) return JSON.stringify(constant)
  if (values !== undefined) return values.map(value => JSON.stringify(value)).join(' | ')
  const members = anyOf ?? oneOf
  if (members !== undefined) return members.map(typeOf).join(' | ')
  if (items !== undefined) return `${typeOf(items)}[]`
  if ($ref !== undefined) return $ref.split('/').at(-1) as string
  return format ?? [type ?? 'any'].flat().join(' | ')
}

function limitsOf(schema: Schema): string {
  return [
    between(schema.minLength, schema.maxLength, 'characters'),
    between(schema.minItems, schema.maxItems, 'items'),
    between(schema.minimum, schema.maximum, ''),
    schema.default === undefined ? '' : `default ${JSON.stringify(schema.default)}`
  ]
    .filter(Boolean)
    .join(', ')
}

function between(least: number | undefined, most: number | undefined, unit: string): string {
  if (least === undefined && most === undefined) return ''
  if (least === most) return `${least} ${unit}`.trim()
  if (most === undefined) return `at least ${least} ${unit}`.trim()
  if (least === undefined) return `at most ${most} ${unit}`.trim()
  return `${least} to ${most} ${unit}`.trim()
}

/** Text in which `backticks` mark code. */
function prose(text: string): Html {
  return html`${text.split('`').map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part))}`
}

function errorsSection(): Html {
  return html`<section>
<h2 id="errors">Errors</h2>
<p>Every error has the body <code>{"error":{"code","message","detail"?,"requestId"}}</code>. With
<code>Accept: application/problem+json</code> the same facts come as RFC 9457, whose <code>type</code> leads here.</p>
<div class="scroll"><table><tbody>
${ERROR_CODES.map(
  code => html`<tr id="${anchorOf(code)}"><th scope="row"><code>${code}</code></th><td>${statusOf(code)}</td><td>${titleOf(code)}</td></tr>
`
)}</tbody></table></div>
</section>`
}
