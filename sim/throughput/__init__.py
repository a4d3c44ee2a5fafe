"""Where the seconds of a training are from: a formula, a constant, a profile table, or an earlier run.

| module | holds |
|---|---|
| config | The kinds, as a user chooses one |
| protocol | What a run asks of every kind |
| scaling | How much faster several devices are than one |
| formula, constant, profile, fitted | The kinds |
| robust | The least squares by which numbers are fitted to seconds |
| table | Profile tables: reading them, and what is plausible |
| curves | Looking up in a table, between its rows and beyond them |
| make | From what the user chose to what answers |
"""
