-- The standard job's delta: fifteen bytes, which makes envelopes of about 233
-- bytes in all, header and numbers included.
return { DELTA = "fifteen letters" }
