import { html } from '../../plugins/lib/html.ts'
import type { View } from '../context.ts'
import { button, card, field, form, formProblem, linkButton, type Problem, pageHeader, type Values } from '../parts.ts'

/** The form for a new team. */
export function newTeamPage(values: Values, problem?: Problem): View {
  const errors = problem?.fields ?? {}
  return context => ({
    title: 'New team',
    section: 'team',
    narrow: true,
    content: html`${pageHeader({ title: 'New team', about: 'A team owns apps, and has a plan. You become its owner, and invite others next.' })}
${formProblem(problem)}
${form(context, { action: '/teams/new' }, [
  card(
    { title: 'Name' },
    html`${field({ name: 'name', label: 'Name', value: values.name, isRequired: true, maxLength: 255, error: errors.name, isFirst: true, hint: 'The display name.' })}${field({ name: 'slug', label: 'Slug', value: values.slug, isOptional: true, isCode: true, maxLength: 63, error: errors.slug, hint: 'Names it in URLs; derived from the name if empty.' })}`
  ),
  html`<div class="actions">${button({ label: 'Create the team', kind: 'primary' })}${linkButton({ label: 'Cancel', href: '/dashboard', kind: 'quiet' })}</div>`
])}`
  })
}
