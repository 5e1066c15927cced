import { type Fragment, type Html, href, html } from '../../plugins/lib/html.ts'
import type { PageContext } from '../context.ts'
import { type IconName, icon } from './icons.ts'

/** The submitted or initial values of a form, by field name. */
export type Values = Readonly<Record<string, unknown>>

/** The problems of a form: in general, and by field. */
export interface Problem {
  /** A sentence shown above the form. */
  readonly message: string
  /** Sentences by field name. */
  readonly fields: Readonly<Record<string, string>>
}

export interface Form {
  readonly action: string
  /** The version that the form shows. The change is refused if there is a newer one. */
  readonly revision?: number
  readonly id?: string
  readonly classes?: string
  /** Its values are secrets: the browser must not keep them as a draft. */
  readonly isSecret?: boolean
}

/**
 * A form that changes something: sent by POST, with the token that proves it came from our page, and a key that makes
 * it happen once, however often it is sent.
 */
export function form(
  context: PageContext,
  { action, revision, id, classes = 'form', isSecret }: Form,
  content: Fragment
): Html {
  return html`<form method="post" action="${href(action)}" class="${classes}"${id && html` id="${id}"`}${!isSecret && html` data-draft`}>
<input type="hidden" name="_csrf" value="${context.csrf()}"><input type="hidden" name="_key" value="${context.submission()}">${revision !== undefined && html`<input type="hidden" name="_rev" value="${revision}">`}
${content}
</form>`
}

export interface Button {
  readonly label: string
  readonly icon?: IconName
  readonly kind?: 'primary' | 'danger' | 'quiet'
  readonly size?: 'small' | 'large' | 'wide'
  /** The name that the form submits for this button. */
  readonly name?: string
  readonly value?: string
  /** The question before it is sent, for users with scripts; irreversible actions have a page of their own instead. */
  readonly confirm?: string
}

/** Submits the form around it. */
export function button({ label, icon: name, kind, size, name: field, value, confirm }: Button): Html {
  const classes = ['button', kind, size].filter(Boolean).join(' ')
  return html`<button class="${classes}"${field && html` name="${field}"`}${value !== undefined && html` value="${value}"`}${confirm && html` data-confirm="${confirm}"`}>${name && icon(name)}${label}</button>`
}

/** A button that is a whole form: one click, one change. */
export function buttonForm(context: PageContext, action: string, settings: Button, fields: Values = {}): Html {
  const hidden = Object.entries(fields).map(
    ([name, value]) => html`<input type="hidden" name="${name}" value="${String(value)}">`
  )
  return form(context, { action, classes: '', isSecret: true }, [...hidden, button(settings)])
}

export interface Field {
  readonly name: string
  readonly label: string
  readonly value?: unknown
  readonly hint?: Fragment
  readonly error?: string | undefined
  readonly type?: 'text' | 'password' | 'email' | 'url' | 'search' | 'number' | 'datetime-local'
  /** The browser's autofill hint; `off` by default. */
  readonly autocomplete?: string
  readonly isRequired?: boolean
  /** Says "optional" beside the label. */
  readonly isOptional?: boolean
  readonly isReadonly?: boolean
  /** Machine-readable text: a slug, a branch, a URL. Disables capitalization and spell checking. */
  readonly isCode?: boolean
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly placeholder?: string
  /** Shown after the text inside the frame, such as the rest of a host name. */
  readonly after?: string
  /** A multi-line field. */
  readonly isLong?: boolean
  /** Focused when the page opens. */
  readonly isFirst?: boolean
}

/** A labelled text field, with its hint and its problem. */
export function field(settings: Field): Html {
  const { name, label, value, hint, error, isOptional, after, isLong } = settings
  const text = value === undefined || value === null ? '' : String(value)
  const common = attributes(settings)
  const input = isLong
    ? html`<textarea class="input" ${common}>
${text}</textarea>`
    : html`<input class="input" type="${settings.type ?? 'text'}" value="${text}" ${common}>`
  return html`<div class="field"><label for="${name}">${label}${isOptional && html` <span class="optional">optional</span>`}</label>${after ? html`<div class="affix">${input}<span class="after">${after}</span></div>` : input}${below(name, hint, error)}</div>`
}

function attributes(settings: Field): Html {
  const {
    name,
    hint,
    error,
    autocomplete = 'off',
    isRequired,
    isReadonly,
    isCode,
    isFirst,
    minLength,
    maxLength,
    pattern,
    placeholder
  } = settings
  const described = [error && `${name}-error`, hint && `${name}-hint`].filter(Boolean).join(' ')
  return html`id="${name}" name="${name}" autocomplete="${autocomplete}"${described && html` aria-describedby="${described}"`}${error && html` aria-invalid="true"`}${isRequired && html` required`}${isReadonly && html` readonly`}${isCode && html` autocapitalize="none" spellcheck="false"`}${minLength !== undefined && html` minlength="${minLength}"`}${maxLength !== undefined && html` maxlength="${maxLength}"`}${pattern && html` pattern="${pattern}"`}${placeholder && html` placeholder="${placeholder}"`}${isFirst && html` autofocus`}`
}

function below(name: string, hint: Fragment, error: string | undefined): Html {
  return html`${error && html`<p class="error" id="${name}-error">${icon('warn')}<span>${error}</span></p>`}${hint && html`<p class="hint" id="${name}-hint">${hint}</p>`}`
}

export interface Choice {
  readonly value: string
  readonly label: string
  /** The heading above it. */
  readonly group?: string
}

export interface Select {
  readonly name: string
  readonly label: string
  readonly choices: readonly Choice[]
  readonly value?: unknown
  readonly hint?: Fragment
  readonly error?: string | undefined
}

export function select({ name, label, choices, value, hint, error }: Select): Html {
  const option = (choice: Choice) =>
    html`<option value="${choice.value}"${choice.value === value && html` selected`}>${choice.label}</option>`
  const groups = [...Map.groupBy(choices, choice => choice.group ?? '')]
  const described = [error && `${name}-error`, hint && `${name}-hint`].filter(Boolean).join(' ')
  return html`<div class="field"><label for="${name}">${label}</label><select class="input" id="${name}" name="${name}"${described && html` aria-describedby="${described}"`}${error && html` aria-invalid="true"`}>${groups.map(([group, inIt]) => (group === '' ? inIt.map(option) : html`<optgroup label="${group}">${inIt.map(option)}</optgroup>`))}</select>${below(name, hint, error)}</div>`
}

export interface Checkbox {
  readonly name: string
  readonly label: string
  readonly isChecked?: boolean
  readonly hint?: Fragment
  readonly value?: string
}

/** Sent as its value, `on` by default, if ticked; omitted otherwise. */
export function checkbox({ name, label, isChecked, hint, value = 'on' }: Checkbox): Html {
  const id = value === 'on' ? name : `${name}-${value}`
  return html`<div class="check"><input type="checkbox" id="${id}" name="${name}" value="${value}"${isChecked && html` checked`}${hint && html` aria-describedby="${id}-hint"`}><label for="${id}">${label}</label>${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}</div>`
}

export interface Option {
  readonly value: string
  readonly label: string
  readonly hint?: Fragment
  readonly icon?: IconName
}

/** One of a few options, each with an explanation. */
export function choices(name: string, legend: string, options: readonly Option[], value: unknown): Html {
  return html`<fieldset class="field"><legend>${legend}</legend><div class="choices">${options.map(
    option =>
      html`<label class="choice"><input type="radio" name="${name}" value="${option.value}"${option.value === value && html` checked`}><b>${option.icon && icon(option.icon)}${option.label}</b>${option.hint && html`<span class="hint">${option.hint}</span>`}</label>`
  )}</div></fieldset>`
}

/** The problems of a form, shown above it and again at each field. The script focuses the first. */
export function formProblem(problem: Problem | undefined): Html | false {
  if (problem === undefined) return false
  return html`<div class="notice bad" role="alert">${icon('stop')}<div class="words"><strong>${problem.message}</strong></div></div>`
}

export interface Confirm {
  readonly action: string
  /** The word to type. */
  readonly word: string
  readonly label: string
  readonly error?: string | undefined
  readonly revision?: number
  /** The name of the field: `confirm` unless a page has several. */
  readonly field?: string
}

/** For irreversible actions: the user types the name to confirm. */
export function confirmForm(context: PageContext, settings: Confirm): Html {
  const { action, word, label, error, revision, field: name = 'confirm' } = settings
  return form(context, { action, isSecret: true, ...(revision !== undefined && { revision }) }, [
    field({
      name,
      label: `Type ${word} to confirm`,
      isRequired: true,
      isCode: true,
      error,
      maxLength: 255
    }),
    html`<div class="actions">${button({ label, kind: 'danger', icon: 'trash' })}</div>`
  ])
}
