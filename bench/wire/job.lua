-- The standard job: text_delta envelopes of about 211 bytes in all.
return { DELTA = "fifteen letters" }
