import { anchorOf, ERROR_CODES, statusOf, titleOf } from '../lib/errors.ts'
import { type Html, html, NO_ICON } from '../lib/html.ts'
import { curlOf } from './curl.ts'
import type { Content, OpenApiDocument, Operation, Reference, Response, Schema } from './document.ts'
import { prose, row, shape, table } from './shape.ts'

interface Entry {
  method: string
  path: string
  operation: Operation
}

/** Where the nonce goes; a nonce is base64, which has no underscore. */
const NONCE = '__nonce__'

/**
 * The HTML documentation: one page, built and encoded once; each reply only inserts its nonce. Its script only adds the
 * search.
 *
 * @param authentication paragraphs on how to get and send a token
 */
export function docsPage(document: OpenApiDocument, authentication: string): (nonce: string) => Buffer {
  const { info } = document
  const groups = Object.entries(Object.groupBy(entriesOf(document), ({ operation }) => operation.tags?.[0] ?? 'other'))
  groups.sort(([one], [other]) => one.localeCompare(other, 'en'))

  const markup = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${info.title} API</title>
${NO_ICON}
<link rel="stylesheet" href="/docs/style.css">
<script nonce="${NONCE}" src="/docs/search.js" defer></script>
</head>
<body>
<nav aria-label="Contents">
<a class="brand" href="#top">${info.title}</a>
<label class="search" hidden>Search <input type="search" id="search" autocomplete="off" spellcheck="false"></label>
<p class="nothing" role="status" hidden>Nothing found.</p>
<h2><a href="#authentication">Authentication</a></h2>
${groups.map(([tag, entries = []]) => html`<div>${contents(tag, entries)}</div>`)}
<h2><a href="#errors">Errors</a></h2>
</nav>
<main id="top">
<header>
<h1>${info.title} API <small>${info.version}</small></h1>
${info.description && html`<p>${info.description}</p>`}
<p>As data: <a href="/openapi.json">openapi.json</a>, OpenAPI 3.1, for client generators.</p>
</header>
<section><h2 id="authentication">Authentication</h2>
${authentication.split(/\n\s*\n/).map(paragraph => html`<p>${prose(paragraph.trim())}</p>`)}
</section>
${groups.map(([tag, entries = []]) => html`<section data-group><h2 id="${tagId(tag)}">${tag}</h2>${entries.map(entry => section(entry, document))}</section>`)}
${errorsSection()}
</main>
</body>
</html>
`.toString()
  // Text cannot contain this tag.
  const tag = '<script nonce="'
  const at = markup.indexOf(tag) + tag.length
  const [before, after] = [Buffer.from(markup.slice(0, at)), Buffer.from(markup.slice(at + NONCE.length))]
  return nonce => Buffer.concat([before, Buffer.from(nonce), after])
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
      html`<li data-words="${`${method} ${path} ${operation.summary ?? ''} ${tag}`.toLowerCase()}"><a href="#${operationAnchor(operation)}">${badge(method)}<span>${operation.summary ?? path}</span></a></li>`
  )}</ul>
`
}

function badge(method: string): Html {
  return html`<b class="method ${method.toLowerCase()}">${method}</b>`
}

function section({ method, path, operation }: Entry, document: OpenApiDocument): Html {
  const { summary, description, parameters = [], requestBody, responses, deprecated } = operation
  const failures = Object.keys(responses).filter(status => /^[45]/.test(status))
  return html`<article id="${operationAnchor(operation)}">
<h3>${badge(method)} <code>${path}</code>${deprecated && html` <em>deprecated</em>`}</h3>
${summary && html`<p class="summary">${summary}</p>`}
${description && html`<p>${prose(description)}</p>`}
${parameters.length > 0 && html`<h4>Parameters</h4>${table(parameters.map(({ name, in: place, required, description: words, schema }) => row(name, schema, required === true, `in ${place}`, words)))}`}
${requestBody && html`<h4>Body${requestBody.required === false && html` <small>optional</small>`}</h4>${shape(schemaOf(requestBody.content), document)}`}
<h4>Example</h4>
<pre><code>${curlOf({ method, path, operation }, document)}</code></pre>
<h4>Replies</h4>
${Object.entries(responses).map(([status, response]) => responseOf(status, response, document))}
${failures.length > 0 && html`<p class="response">Errors: ${failures.map(status => html`<a href="#errors">${status}</a> `)}</p>`}
</article>
`
}

function responseOf(status: string, response: Response | Reference, document: OpenApiDocument): Html | undefined {
  if ('$ref' in response) return undefined // the shared errors, listed once below
  const schema = response.content && schemaOf(response.content)
  const summary = html`<b>${status}</b> ${response.description}`
  if (schema === undefined) return html`<p class="response">${summary}</p>`
  const sample = response.content?.['application/json']?.example
  return html`<details class="response"><summary>${summary}</summary>${shape(schema, document)}${
    sample !== undefined && html`<pre><code>${JSON.stringify(sample, null, 2)}</code></pre>`
  }</details>`
}

function schemaOf(content: Content): Schema | undefined {
  return Object.values(content)[0]?.schema
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
