// Is this the name of something secret? `db_password`, `clientSecret` and `X-Api-Key` are; `tokens_used`, `secretName` and `keyboard` are not.
// A name is cut into words; its last words decide, or its first ones if nothing but a qualifier (`password_hash`, `token2`) follows.

const phrases = new Set(
  `password passwords passwd pwd pass passphrase passcode passwort kennwort contrasena motdepasse senha wachtwoord parola
   haslo heslo lozinka jelszo salasana losenord passord adgangskode sifre passw pw psw
   pin pincode pinnumber puk accesscode unlockcode securityanswer secretanswer cvv cvc cvn csc securitycode otp totp otpcode mfacode onetimecode verificationcode
   recoverycode recoverycodes backupcode backupcodes seedphrase recoveryphrase mnemonic
   secret secrets token accesstokens refreshtokens apitokens authtokens apikey apikeys accesskey sas sharedaccesssignature secretkey secretkeys secretkeybase hmackey privatekey
   privatekeys signingkey encryptionkey masterkey sharedkey accountkey storagekey subscriptionkey sessionkey sshkey deploykey
   credential credentials creds authorization proxyauthorization auth bearer jwt cookie cookies setcookie
   session sessionid sessid sid csrf xsrf samlresponse samlassertion clientassertion codeverifier
   sig xamzsignature xgoogsignature`.split(/\s+/),
)

// Written without a boundary (`dbpassword`), these endings still leave no doubt.
const endings =
  /(?:password|passwd|passphrase|secret|token|apikey|privatekey|secretkey|accesskey|credentials?|sessionid|sessid)(?:value|hash)?$/

const qualifiers = new Set(
  `hash hashed value val plain plaintext text string raw json base64 b64 encoded encrypted confirm confirmation repeat again
   new old current previous next backup header`.split(/\s+/),
)

// Page cursors, retry markers, numbers of requests and kubectl's run id are called token or session and open nothing.
const harmless = new Set(
  `nexttoken pagetoken nextpagetoken prevpagetoken previouspagetoken continuationtoken continuetoken idempotencytoken
   clientrequesttoken synctoken progresstoken kubectlsession`.split(/\s+/),
)

// Without spaces between words only the end of a name can tell. Marks are taken off, as they are from the name.
const unmarked = (text: string): string => text.normalize('NFKD').replace(/[\p{M}\p{Cf}]/gu, '')
const foreign = new RegExp(`(?:${unmarked('пароль|密码|密碼|口令|パスワード|暗証番号|비밀번호')})$`)

const stem =
  /[^\x20-\x7e]|parola|haslo|heslo|lozinka|jelszo|salasana|losenord|adgangskode|sifre|pw|psw|puk|answer|sas|pass|pwd|wo?ord|wort|contrase|senha|pin|cv[vcn]|csc|code|otp|phrase|mnemonic|secret|token|key|cred|auth|bearer|jwt|cookie|sess|sid|[cx]srf|saml|assertion|verifier|sig/i

// Longer names are judged by their end: work stays bounded whatever is sent.
const longest = 128

/** `counted`: the value is a bare number, so `tokens` is a count and not a list of secrets. */
export const secretName = (name: string, counted = false): boolean => {
  const folded = unmarked(name.slice(-longest)).replace(/[łŁ]/g, 'l')
  if (!stem.test(folded)) return false
  if (foreign.test(folded.toLowerCase())) return true
  const words = folded
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .map(word => (word === 'base64' || word === 'b64' ? word : word.replace(/\d+$/, '')))
    .filter(word => word !== '')
  while (words.length > 1 && qualifiers.has(words.at(-1) ?? '')) words.pop()
  const whole = words.join('')
  if (harmless.has(whole)) return false
  if (whole === 'tokens') return !counted
  return endings.test(whole) || [1, 2, 3, 4].some(count => phrases.has(words.slice(-count).join('')))
}
