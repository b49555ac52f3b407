def quoted(): return ()
