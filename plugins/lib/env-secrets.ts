/** Names of variables whose values are always secret. */
const SECRET_NAME = /PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|AUTH|PRIVATE|SALT|DSN|SIGN|CERT|WEBHOOK/

/** Values that look like settings: one word, a version or a number, as in `NODE_ENV=production` or `RETRIES=3`. */
const SETTING = /^(?:[A-Za-z]{1,16}|v?\d{1,5}(?:\.\d{1,5}){0,3})$/

/**
 * The values of an app's env that logs must not show. Settings are excluded: masking the word `main` because a variable
 * holds it would make the log unreadable and reveal the variable's value.
 */
export function secretsOfEnv(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env)
    .filter(([name, value]) => SECRET_NAME.test(name) || !SETTING.test(value.trim()))
    .map(([, value]) => value)
}
